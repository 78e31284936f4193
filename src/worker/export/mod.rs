//! Runs of kind `export`: a model in another program's format, as one file.
//!
//! Every format is written from the same tensors, those that the network itself uses, with torchvision's names; formats that can be
//! executed here are compared with the network's own logits before they are returned ([`torchscript`]). Nothing in a file depends on when,
//! where or how often it is created: the same model and options produce the same bytes.

mod archive;
mod onnx;
#[cfg(test)]
mod tests;
mod texts;
mod timm;
mod torchscript;

use std::path::Path;

use anyhow::ensure;
use tch::Device;

use self::archive::Archive;
use super::{
    files::{
        bundle,
        state::{self, StateDict},
    },
    nets::Network,
    process::{
        child::{StopFlag, Stopped},
        run_dir::RunDir,
    },
};
use crate::{
    domain::models::{export::ExportFormat, model::ModelCard},
    protocol::{ExportRun, RunResult, frames::ModelFiles},
};

/// Name within the run directory.
const FILE: &str = "export";
/// Where the whole network of an adapter is written.
const MERGED: &str = "merged";
/// Threads for arithmetic, for the comparison of two images.
const THREADS: i32 = 2;

/// Writes one file into `dir`.
///
/// # Errors
/// [`Stopped`] once `stop` is set; anything else is a bug, or a fault of the model's files or of the machine.
pub fn run(run: &ExportRun, dir: &RunDir, stop: &StopFlag) -> anyhow::Result<RunResult> {
    tch::set_num_threads(THREADS);
    let path = dir.file(FILE);
    let card = bundle::read_card(&run.model)?;
    if run.spec.format == ExportFormat::Bundle {
        write_bundle(&path, run, card, dir)?;
    } else {
        let model = Model::read(run, card)?;
        ensure!(!stop.is_set(), Stopped);
        match run.spec.format {
            ExportFormat::Onnx => onnx::write(&path, &model, &run.spec)?,
            ExportFormat::Timm => timm::write(&path, &model)?,
            ExportFormat::Torchscript => torchscript::write(&path, &model)?,
            ExportFormat::Safetensors | ExportFormat::Bundle => {
                state::write(&path, &model.state, &model.texts_of_torch())?;
            }
        }
    }
    ensure!(!stop.is_set(), Stopped);
    Ok(RunResult::Exported {
        file: dir.artifact(FILE)?,
    })
}

/// A model that has been read and fits its architecture.
struct Model {
    card: ModelCard,
    /// Its title in the files.
    title: String,
    network: Network,
    /// The network's tensors, each contiguous: 32-bit floats, and BatchNorm's counters.
    state: StateDict,
}

impl Model {
    fn read(run: &ExportRun, card: ModelCard) -> anyhow::Result<Self> {
        let weights = bundle::read_weights(&run.model)?;
        let network = Network::loaded(card.architecture, card.outputs(), &weights, Device::Cpu)?;
        // The weights are whole.
        let card = ModelCard {
            adapter: None,
            ..card
        };
        Ok(Self::new(card, run.title.clone(), network))
    }

    fn new(card: ModelCard, title: String, network: Network) -> Self {
        let tensors = network.state().iter();
        let state = tensors.map(|(name, tensor)| (name.clone(), tensor.detach().contiguous()));
        Self {
            state: state.collect(),
            card,
            title,
            network,
        }
    }
}

/// The model's files unchanged; those of an adapter as of the whole network that it is with its base.
fn write_bundle(path: &Path, run: &ExportRun, card: ModelCard, dir: &RunDir) -> anyhow::Result<()> {
    let whole = match card.adapter {
        None => None,
        Some(_) => {
            let model = Model::read(run, card)?;
            let merged = RunDir::new(dir.file(MERGED));
            std::fs::create_dir(dir.file(MERGED))?;
            let files = bundle::write(&merged, &model.state, &model.card)?;
            Some(ModelFiles {
                weights: merged.file(&files.weights.file),
                sha256: files.weights.sha256,
                card: merged.file(&files.card.file),
                card_sha256: files.card.sha256,
                base: None,
            })
        }
    };
    let files = whole.as_ref().unwrap_or(&run.model);
    let mut archive = Archive::create(path)?;
    let card = archive.add_file(bundle::CARD_FILE, &files.card)?;
    ensure!(card == files.card_sha256, bundle::card_damaged());
    let weights = archive.add_file(bundle::WEIGHTS_FILE, &files.weights)?;
    ensure!(weights == files.sha256, bundle::weights_damaged());
    archive.finish()
}
