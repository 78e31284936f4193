//! Base weights for a network, from wherever the spec says: nothing, a file, a hub with Hugging Face's API, or the Python registry.
//!
//! Called once by a training child before its first step. Every failure is a sentence that says what to do; the job ends with it. The
//! result is only tensors by name: `nets` decides whether they match the network.

mod cache;
mod contents;
mod description;
mod download;
mod either;
mod fault;
pub mod file;
pub mod fit;
mod hub;
#[cfg(test)]
mod hub_server;
mod package;
mod registry;
#[cfg(test)]
mod registry_tests;
mod request;
pub mod task;
#[cfg(test)]
mod tests;
pub mod torch_file;

use std::{fs, path::Path, time::Duration};

pub use self::description::Description;
use self::{contents::Contents, fault::HubFault, hub::from_hub};
use super::{
    files::state::StateDict,
    process::child::{Reporter, StopFlag},
};
use crate::{
    domain::{
        damage::Damaged,
        jobs::job::{FailureCode, JobError},
        spec::Architecture,
    },
    files::digest,
    protocol::{HubSource, WeightsSource},
};

/// Weights and their origin.
#[derive(Debug)]
pub struct LoadedWeights {
    /// Under the names of the network, as far as they could be found.
    pub state: StateDict,
    pub origin: BaseWeights,
    /// What was changed and chosen to find them, each a sentence without its full stop.
    pub told: Vec<String>,
    /// Whether a choice could be wrong.
    pub guessed: bool,
    /// Names of the outputs of the head, in order, where they are known.
    pub classes: Option<Vec<String>>,
}

/// The origin of weights, as recorded in the model's card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseWeights {
    pub name: String,
    /// Of the file, hexadecimal; none if there is no file, and in older checkpoints.
    pub sha256: Option<String>,
}

impl BaseWeights {
    pub fn none() -> Self {
        Self {
            name: "none".to_owned(),
            sha256: None,
        }
    }

    /// The digest is only for the lineage: a file that was read once but cannot be read again is no reason to fail.
    fn of_file(name: String, path: &Path) -> Self {
        let sha256 = digest::of_file(path).ok().map(|(sha256, _)| sha256);
        Self { name, sha256 }
    }
}

/// Why there are no weights.
#[derive(Debug)]
pub enum WeightsFault {
    /// The server asked to stop; the partial download is kept for the next attempt.
    Stopped,
    /// The job fails with `weights_unavailable`, or `disk_full` if the cache's disk is full.
    Failed(JobError),
}

/// Loads the base weights for a network of `architecture`; none for random initialisation.
///
/// # Errors
/// [`WeightsFault`], with a message for the person who sent the job.
pub fn obtain(
    source: &WeightsSource,
    architecture: Architecture,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Option<LoadedWeights>, WeightsFault> {
    match source {
        WeightsSource::None => Ok(None),
        WeightsSource::Unavailable { message } => Err(unavailable(message.clone())),
        WeightsSource::File {
            path,
            origin,
            sha256,
            classes,
        } => {
            let mut loaded = of_file(path, origin, sha256.as_deref(), architecture)?;
            loaded.classes.clone_from(classes);
            Ok(Some(loaded))
        }
        WeightsSource::Hub(hub) => from_hub(hub, architecture, &Patience::DEFAULT, reporter, stop).map(Some),
        WeightsSource::Registry(registry) => {
            registry::from_registry(registry, architecture, &Patience::DEFAULT, reporter, stop).map(Some)
        }
        WeightsSource::HubOrRegistry { hub, registry } => {
            either::obtain(hub, registry, architecture, &Patience::DEFAULT, reporter, stop).map(Some)
        }
    }
}

/// What weights say about themselves, where that is not known otherwise.
///
/// # Errors
/// [`WeightsFault`], also if they are of another network.
pub fn describe(
    hub: &HubSource,
    architecture: Architecture,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Description, WeightsFault> {
    hub::described(hub, architecture, &Patience::DEFAULT, reporter, stop)
}

/// A trained model, whose digest is known, or an operator's own file, with an optional digest beside it.
fn of_file(
    path: &Path,
    origin: &str,
    sha256: Option<&str>,
    architecture: Architecture,
) -> Result<LoadedWeights, WeightsFault> {
    let named = match sha256 {
        Some(sha256) => Some((
            sha256.to_owned(),
            format!("the file of the weights of the model `{origin}`"),
        )),
        None => digest_beside(path).map(|sha256| (sha256, format!("the file of weights `{origin}`"))),
    };
    if let Some((sha256, what)) = named
        && !digest::holds(path, &sha256).unwrap_or(false)
    {
        return Err(damaged(&Damaged::new(what)));
    }
    match file::read(path) {
        Ok(contents) => Ok(loaded(
            contents,
            architecture,
            BaseWeights::of_file(origin.to_owned(), path),
            None,
        )),
        Err(fault) => Err(unavailable(format!(
            "the weights `{origin}` cannot be used: {fault}. Choose another file or model, or start from random weights with \
             `\"weights\": \"none\"`"
        ))),
    }
}

fn loaded(
    contents: Contents,
    architecture: Architecture,
    origin: BaseWeights,
    classes: Option<Vec<String>>,
) -> LoadedWeights {
    let fitted = fit::fitted(contents.state, architecture);
    LoadedWeights {
        state: fitted.state,
        origin,
        told: [contents.told, fitted.told].concat(),
        guessed: contents.guessed || fitted.guessed,
        classes,
    }
}

/// The digest that `sha256sum` has written into a file of the same name with `.sha256` appended.
fn digest_beside(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path.with_added_extension("sha256")).ok()?;
    let word = text.split_whitespace().next()?.to_ascii_lowercase();
    digest::is_digest(&word).then_some(word)
}

/// Timeouts and retries of a download.
#[derive(Clone, Debug)]
struct Patience {
    connect: Duration,
    /// Longest wait for a response, and for more of it.
    read: Duration,
    /// Before the second attempt; doubled before each one after it.
    pause: Duration,
    /// Consecutive attempts without any progress.
    tries: u32,
    /// Time over which [`Patience::MIN_BYTES_PER_SECOND`] must be reached.
    window: Duration,
}

impl Patience {
    const DEFAULT: Patience = Patience {
        connect: Duration::from_secs(10),
        read: Duration::from_secs(30),
        pause: Duration::from_secs(1),
        tries: 3,
        window: Duration::from_secs(60),
    };
    /// A ResNet-50 takes three hours at this rate; anything slower would occupy a device for days.
    const MIN_BYTES_PER_SECOND: f64 = 10_000.0;
}

/// The job's error for weights that could not be fetched. `from`: the host and what went wrong with it.
fn refused(
    fault: &HubFault,
    what: &str,
    from: &str,
    advice: &str,
    architecture: Architecture,
) -> WeightsFault {
    let code = match fault {
        HubFault::Stopped => return WeightsFault::Stopped,
        _ if fault.is_full_disk() => FailureCode::DiskFull,
        HubFault::Damaged => FailureCode::DataDamaged,
        _ => {
            return unavailable(format!(
                "{what} from {from}. {advice}, put such weights into `--weights-dir` as `{architecture}.safetensors` or \
                 `{architecture}.pth`, or start from random weights with `\"weights\": \"none\"`"
            ));
        }
    };
    WeightsFault::Failed(JobError {
        code,
        message: format!("{what}: {fault}. {advice}"),
    })
}

fn damaged(damaged: &Damaged) -> WeightsFault {
    WeightsFault::Failed(JobError {
        code: FailureCode::DataDamaged,
        message: damaged.to_string(),
    })
}

fn unavailable(message: String) -> WeightsFault {
    WeightsFault::Failed(JobError {
        code: FailureCode::WeightsUnavailable,
        message,
    })
}
