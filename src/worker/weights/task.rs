//! Runs of kind `weights`, for `finetuned weights`: fetch a set into a file, or verify a file. No server and no training is involved.

use std::path::Path;

use tch::Device;

use super::{
    contents::Contents,
    file, fit,
    loading::{LoadedWeights, WeightsFault, digest_beside},
    obtain,
};
use crate::{
    domain::{
        jobs::job::{FailureCode, JobError},
        spec::Architecture,
    },
    files::digest,
    protocol::{RunResult, WeightsReport, WeightsRun, WeightsTask},
    worker::{
        files::state::{self, StateDict},
        import::detect,
        nets::{Network, heads},
        process::{
            child::{Reporter, StopFlag, Stopped},
            run_dir::RunDir,
        },
    },
};

/// Name of the file in the run directory.
const FETCHED_FILE: &str = "weights.safetensors";

/// # Errors
/// [`Stopped`] once `stop` is set; anything else is a bug or a fault of the machine.
pub fn run(
    run: &WeightsRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    let outcome = match &run.task {
        WeightsTask::Fetch { source, architecture } => match obtain(source, *architecture, reporter, stop) {
            Ok(Some(loaded)) => store(&loaded, *architecture, run, dir)?,
            Ok(None) => Err("there are no weights to fetch".to_owned()),
            Err(WeightsFault::Stopped) => return Err(Stopped.into()),
            Err(WeightsFault::Failed(error)) => return Ok(RunResult::Failed(error)),
        },
        WeightsTask::Verify { path, architecture } => verified(path, *architecture),
    };
    Ok(match outcome {
        Ok(report) => RunResult::Weights(Box::new(report)),
        Err(message) => RunResult::Failed(JobError::new(FailureCode::WeightsUnavailable, message)),
    })
}

/// Writes the weights under the network's names, with what is known about them in the file itself.
fn store(
    loaded: &LoadedWeights,
    architecture: Architecture,
    run: &WeightsRun,
    dir: &RunDir,
) -> anyhow::Result<Result<WeightsReport, String>> {
    let outputs = match check(&loaded.state, architecture) {
        Ok(outputs) => outputs,
        Err(why) => {
            return Ok(Err(format!(
                "the weights `{}` cannot be used: {why}",
                loaded.origin.name
            )));
        }
    };
    let mut texts = run.about.clone();
    texts.insert("origin".to_owned(), loaded.origin.name.clone());
    texts.extend(
        loaded
            .origin
            .sha256
            .clone()
            .map(|sha256| ("origin_sha256".to_owned(), sha256)),
    );
    state::write(&dir.file(FETCHED_FILE), &loaded.state, &texts)?;
    Ok(Ok(WeightsReport {
        architecture,
        outputs,
        tensors: loaded.state.len() as u64,
        origin: loaded.origin.name.clone(),
        file: Some(dir.artifact(FETCHED_FILE)?),
        has_digest: true,
        remarks: loaded.told.clone(),
    }))
}

/// Reads a file as a job would: its digest, its tensors, whether they are those of a network.
fn verified(path: &Path, architecture: Option<Architecture>) -> Result<WeightsReport, String> {
    let beside = digest_beside(path);
    if let Some(sha256) = &beside
        && !digest::holds(path, sha256).map_err(|fault| format!("it cannot be read ({fault})"))?
    {
        return Err("it is damaged: its SHA-256 is not that of the file beside it".to_owned());
    }
    let contents = file::read(path).map_err(|fault| fault.to_string())?;
    let architecture = match architecture.or_else(|| detected(&contents)) {
        Some(architecture) => architecture,
        None => return Err("its tensors are those of no network of this program".to_owned()),
    };
    let fitted = fit::fitted(contents.state, architecture);
    let outputs = check(&fitted.state, architecture)?;
    Ok(WeightsReport {
        architecture,
        outputs,
        tensors: fitted.state.len() as u64,
        origin: state::read_metadata(path)
            .ok()
            .and_then(|mut texts| texts.remove("origin"))
            .unwrap_or_default(),
        file: None,
        has_digest: beside.is_some(),
        remarks: [contents.told, fitted.told].concat(),
    })
}

fn detected(contents: &Contents) -> Option<Architecture> {
    let whole = detect::architecture(&contents.state);
    whole.or_else(|| {
        fit::candidates(&contents.state)
            .iter()
            .find_map(detect::architecture)
    })
}

/// The outputs of the head, 0 if there is none.
///
/// # Errors
/// What does not fit the network.
fn check(state: &StateDict, architecture: Architecture) -> Result<u64, String> {
    let outputs = heads::found(state, architecture).map_or(0, |found| found.classes);
    let loaded = Network::fine_tuned(architecture, outputs.max(1) as usize, state, 0, Device::Cpu);
    if let Err(fault) = loaded {
        return Err(
            match detect::architecture(state).filter(|other| *other != architecture) {
                Some(other) => format!("these are weights of {other}, not of {architecture}"),
                None => fault.to_string(),
            },
        );
    }
    for (name, tensor) in state {
        if tensor.is_floating_point() && tensor.isfinite().all().int64_value(&[]) == 0 {
            return Err(format!("`{name}` contains numbers that are not finite"));
        }
    }
    Ok(outputs as u64)
}
