//! The state of training as one file: everything that the next step depends on, so that an interrupted run continues as if it had not been
//! interrupted.
//!
//! Written by rename and verified when read: a file counts only if its content has the recorded hash and belongs to this very job. No
//! random state is saved, because every draw is a pure function of seed, epoch and sample.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::history::ValidationScores;
use crate::{
    domain::{jobs::baseline::Baseline, models::model::ModelMetrics},
    files::digest::{self, Hasher},
    protocol::TrainRun,
    worker::{
        files::state::{self, StateDict, StateFault},
        train::{precision::LossScale, progress::meter::Sums},
        weights::BaseWeights,
    },
};

/// Keys in the file's metadata: the header and its digest, which covers everything that [`Header::content`] does not.
const HEADER: &str = "finetuned";
const HEADER_SHA256: &str = "finetuned_sha256";
const FORMAT: u32 = 4;
/// Prefixes of tensor names.
const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";
const AVERAGE: &str = "average.";
const SECOND: &str = "second.";
const BEST: &str = "best.";

/// A point between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The current epoch, from 1.
    pub epoch: u32,
    /// Steps completed in it.
    pub step_in_epoch: usize,
    /// Steps since the job began.
    pub step: u64,
}

impl Position {
    pub const START: Position = Position {
        epoch: 1,
        step_in_epoch: 0,
        step: 0,
    };

    /// The epoch that the last step belongs to; 0 before the first.
    pub fn epoch_of_last_step(&self) -> u32 {
        if self.step_in_epoch == 0 {
            self.epoch - 1
        } else {
            self.epoch
        }
    }
}

/// What the bits of a run depend on besides its spec and its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub device: String,
    pub threads: u32,
    pub libtorch: String,
    /// `fp32`, `tf32`, `bf16` or `fp16`.
    pub precision: String,
    /// How the convolutions that are not libtorch's are computed, see [`crate::worker::nets::winograd::form`]; empty if there are none, and
    /// in checkpoints from before there were any.
    #[serde(default)]
    pub convolutions: String,
}

/// Everything in a checkpoint that is not a tensor, as JSON in its metadata. Floating-point numbers are preserved exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    format: u32,
    /// See [`identity`].
    job: String,
    pub machine: Machine,
    pub position: Position,
    /// Of the current epoch.
    pub sums: Sums,
    /// Of the earlier epochs.
    history: Vec<ValidationScores>,
    pub best: Option<ModelMetrics>,
    /// The best weights are the model's current ones and are not stored a second time.
    best_is_model: bool,
    pub base_weights: String,
    #[serde(default)]
    base_weights_sha256: Option<String>,
    #[serde(default)]
    base_weights_guessed: bool,
    /// Time used of `max_seconds`, over all attempts.
    pub seconds_used: f64,
    batch_limit: usize,
    loss_scale: Option<LossScale>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    baseline: Option<Baseline>,
    /// SHA-256 over all tensors.
    content: String,
}

/// The state of training in memory. Tensors may share memory with the tensors that they were taken from.
#[derive(Debug)]
pub struct Checkpoint {
    pub job: String,
    pub machine: Machine,
    pub position: Position,
    pub sums: Sums,
    /// Of the earlier epochs.
    pub history: Vec<ValidationScores>,
    pub base_weights: BaseWeights,
    pub seconds_used: f64,
    /// Largest micro-batch for which memory has sufficed.
    pub batch_limit: usize,
    pub loss_scale: Option<LossScale>,
    /// By the network's tensor names.
    pub model: StateDict,
    /// The trainable part of the moving average; empty if there is none.
    pub average: StateDict,
    /// With the optimiser's names.
    pub optimizer: StateDict,
    /// What learns beside the network; empty if nothing does.
    pub second: StateDict,
    pub best: Option<SavedBest>,
    pub baseline: Option<Baseline>,
}

impl Checkpoint {
    /// A copy on the CPU, which later steps do not change.
    pub fn copied(self) -> Self {
        let best = self.best.map(|best| SavedBest {
            weights: best.weights.as_ref().map(copied),
            ..best
        });
        Self {
            model: copied(&self.model),
            average: copied(&self.average),
            optimizer: copied(&self.optimizer),
            second: copied(&self.second),
            best,
            ..self
        }
    }
}

fn copied(state: &StateDict) -> StateDict {
    let copies = state.iter().map(|(name, tensor)| {
        let copy = match tensor.device() {
            Device::Cpu => tensor.detach().copy(),
            _ => tensor.detach().to_device(Device::Cpu),
        };
        (name.clone(), copy)
    });
    copies.collect()
}

/// The best epoch so far.
#[derive(Debug)]
pub struct SavedBest {
    pub metrics: ModelMetrics,
    /// The network's trainable tensors; none where they are the model's current ones.
    pub weights: Option<StateDict>,
}

/// Why a checkpoint cannot be resumed from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointFault {
    #[error(transparent)]
    State(#[from] StateFault),
    #[error("{0}")]
    Damaged(String),
}

/// What distinguishes the job of a checkpoint from every other: a digest of its spec and its dataset.
pub fn identity(run: &TrainRun) -> serde_json::Result<String> {
    let (dataset, classes) = (run.common.dataset.lineage.identity(), &run.common.dataset.classes);
    let mut parts = serde_json::json!({"spec": run.spec, "dataset": dataset, "classes": classes});
    if let Some(method) = run.pretraining {
        parts["pretraining"] = method.as_str().into();
    }
    Ok(digest::of_bytes(&serde_json::to_vec(&parts)?))
}

pub fn write(path: &Path, checkpoint: &Checkpoint) -> Result<(), CheckpointFault> {
    let mut tensors = StateDict::new();
    let best = checkpoint.best.as_ref();
    let best_weights = best.and_then(|best| best.weights.as_ref());
    let parts = [
        (MODEL, Some(&checkpoint.model)),
        (OPTIMIZER, Some(&checkpoint.optimizer)),
        (AVERAGE, Some(&checkpoint.average)),
        (SECOND, Some(&checkpoint.second)),
        (BEST, best_weights),
    ];
    for (prefix, part) in parts {
        for (name, tensor) in part.into_iter().flatten() {
            tensors.insert(format!("{prefix}{name}"), tensor.shallow_clone());
        }
    }
    let header = Header {
        format: FORMAT,
        job: checkpoint.job.clone(),
        machine: checkpoint.machine.clone(),
        position: checkpoint.position,
        sums: checkpoint.sums.clone(),
        history: checkpoint.history.clone(),
        best: best.map(|best| best.metrics.clone()),
        best_is_model: best.is_some() && best_weights.is_none(),
        base_weights: checkpoint.base_weights.name.clone(),
        base_weights_sha256: checkpoint.base_weights.sha256.clone(),
        base_weights_guessed: checkpoint.base_weights.guessed,
        seconds_used: checkpoint.seconds_used,
        batch_limit: checkpoint.batch_limit,
        loss_scale: checkpoint.loss_scale,
        baseline: checkpoint.baseline.clone(),
        content: content(&tensors)?,
    };
    let text = serde_json::to_string(&header).map_err(|fault| CheckpointFault::Damaged(fault.to_string()))?;
    let metadata = BTreeMap::from([
        (HEADER_SHA256.to_owned(), digest::of_bytes(text.as_bytes())),
        (HEADER.to_owned(), text),
    ]);
    Ok(state::write(path, &tensors, &metadata)?)
}

/// The job that a checkpoint says it is of, without verifying it; none if it cannot be read.
pub fn job_of(path: &Path) -> Option<String> {
    let metadata = state::read_metadata(path).ok()?;
    let header: Header = serde_json::from_str(metadata.get(HEADER)?).ok()?;
    Some(header.job)
}

/// Reads a checkpoint of the job `job`.
///
/// # Errors
/// The file is missing, truncated, modified, of another format or of another job.
pub fn read(path: &Path, job: &str) -> Result<Checkpoint, CheckpointFault> {
    let damaged = |message: &str| Err(CheckpointFault::Damaged(message.to_owned()));
    let metadata = state::read_metadata(path)?;
    let Some(text) = metadata.get(HEADER) else {
        return damaged("it is not a checkpoint");
    };
    let header: Header =
        serde_json::from_str(text).map_err(|fault| CheckpointFault::Damaged(fault.to_string()))?;
    if header.format != FORMAT || header.job != job {
        return damaged("it belongs to another job or another version of this program");
    }
    if metadata.get(HEADER_SHA256) != Some(&digest::of_bytes(text.as_bytes())) {
        return damaged("its header is damaged");
    }
    let tensors = state::read(path)?;
    if content(&tensors)? != header.content {
        return damaged("its content is damaged");
    }
    let mut parts = [
        (MODEL, StateDict::new()),
        (OPTIMIZER, StateDict::new()),
        (AVERAGE, StateDict::new()),
        (SECOND, StateDict::new()),
        (BEST, StateDict::new()),
    ];
    for (name, tensor) in tensors {
        for (prefix, part) in &mut parts {
            if let Some(rest) = name.strip_prefix(*prefix) {
                part.insert(rest.to_owned(), tensor.shallow_clone());
            }
        }
    }
    let [(_, model), (_, optimizer), (_, average), (_, second), (_, best)] = parts;
    let best_weights = (!header.best_is_model).then_some(best);
    Ok(Checkpoint {
        job: header.job,
        machine: header.machine,
        position: header.position,
        sums: header.sums,
        history: header.history,
        base_weights: BaseWeights {
            name: header.base_weights,
            sha256: header.base_weights_sha256,
            guessed: header.base_weights_guessed,
        },
        seconds_used: header.seconds_used,
        batch_limit: header.batch_limit,
        loss_scale: header.loss_scale,
        model,
        average,
        optimizer,
        second,
        baseline: header.baseline,
        best: header.best.map(|metrics| SavedBest {
            metrics,
            weights: best_weights,
        }),
    })
}

/// A digest of names, types, shapes and values.
pub fn content(tensors: &StateDict) -> Result<String, CheckpointFault> {
    let mut hasher = Hasher::new();
    for (name, tensor) in tensors {
        let bytes = bytes(tensor).map_err(StateFault::from)?;
        hasher.update(format!("{name} {:?} {:?}\n", tensor.kind(), tensor.size()).as_bytes());
        hasher.update(&bytes);
    }
    Ok(hasher.finish())
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>, tch::TchError> {
    let mut bytes = vec![0; tensor.numel() * tensor.f_kind()?.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}
