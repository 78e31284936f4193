//! What all sources of weights share: what they give, how long they are waited for, and how a job is told that there are none.

use std::{fs, panic, path::Path, thread, time::Duration};

use super::{contents::Contents, fault::HubFault, file, fit};
use crate::{
    domain::{
        damage::Damaged,
        jobs::job::{FailureCode, JobError},
        spec::Architecture,
    },
    files::digest,
    worker::files::state::StateDict,
};

/// Weights and their origin.
#[derive(Debug)]
pub struct LoadedWeights {
    /// Under the names of the network, as far as they could be found.
    pub state: StateDict,
    /// The same of auxiliary heads.
    pub auxiliary: StateDict,
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
    /// Whether it had to be guessed which of its tensors are which.
    pub guessed: bool,
}

impl BaseWeights {
    pub fn none() -> Self {
        Self {
            name: "none".to_owned(),
            sha256: None,
            guessed: false,
        }
    }

    pub(super) fn named(name: String, sha256: Option<String>) -> Self {
        Self {
            name,
            sha256,
            guessed: false,
        }
    }

    /// The digest is only for the lineage: a file that was read once but cannot be read again is no reason to fail.
    pub(super) fn of_file(name: String, path: &Path) -> Self {
        let sha256 = digest::of_file(path).ok().map(|(sha256, _)| sha256);
        Self::named(name, sha256)
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

/// A trained model, whose digest is known, or an operator's own file, with an optional digest beside it.
pub(super) fn of_file(
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
    let (found, contents) = thread::scope(|scope| {
        let hashing = scope.spawn(|| digest::of_file(path).ok().map(|(sha256, _)| sha256));
        let contents = file::read(path);
        let found = hashing.join().unwrap_or_else(|fault| panic::resume_unwind(fault));
        (found, contents)
    });
    if let Some((sha256, what)) = named
        && found.as_ref() != Some(&sha256)
    {
        return Err(damaged(&Damaged::new(what)));
    }
    match contents {
        Ok(contents) => {
            let origin = BaseWeights::named(origin.to_owned(), found);
            Ok(loaded(contents, architecture, origin, None))
        }
        Err(fault) => Err(unavailable(format!(
            "the weights `{origin}` cannot be used: {fault}. Choose another file or model, or start from random weights with \
             `\"weights\": \"none\"`"
        ))),
    }
}

pub(super) fn loaded(
    contents: Contents,
    architecture: Architecture,
    origin: BaseWeights,
    classes: Option<Vec<String>>,
) -> LoadedWeights {
    let fitted = fit::fitted(contents.state, architecture);
    let guessed = contents.guessed || fitted.guessed;
    LoadedWeights {
        state: fitted.state,
        auxiliary: fitted.auxiliary,
        origin: BaseWeights { guessed, ..origin },
        told: [contents.told, fitted.told].concat(),
        guessed,
        classes,
    }
}

/// The digest that `sha256sum` has written into a file of the same name with `.sha256` appended.
pub(super) fn digest_beside(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path.with_added_extension("sha256")).ok()?;
    let word = text.split_whitespace().next()?.to_ascii_lowercase();
    digest::is_digest(&word).then_some(word)
}

/// The digest of an operator's own file, unless there is another one beside it.
pub(super) fn sound_digest(path: &Path) -> Option<String> {
    let (found, _) = digest::of_file(path).ok()?;
    digest_beside(path)
        .is_none_or(|named| named == found)
        .then_some(found)
}

/// Timeouts and retries of a download.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub connect: Duration,
    /// Longest wait for a response, and for more of it.
    pub read: Duration,
    /// Before the second attempt; doubled before each one after it.
    pub pause: Duration,
    /// Consecutive attempts without any progress.
    pub tries: u32,
    /// Time over which [`Patience::MIN_BYTES_PER_SECOND`] must be reached.
    pub window: Duration,
}

impl Patience {
    pub const DEFAULT: Patience = Patience {
        connect: Duration::from_secs(10),
        read: Duration::from_secs(30),
        pause: Duration::from_secs(1),
        tries: 3,
        window: Duration::from_secs(60),
    };
    /// A ResNet-50 takes three hours at this rate; anything slower would occupy a device for days.
    pub const MIN_BYTES_PER_SECOND: f64 = 10_000.0;
}

/// The job's error for weights that could not be fetched. `from`: the host and what went wrong with it.
pub(super) fn refused(
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

pub(super) fn damaged(damaged: &Damaged) -> WeightsFault {
    WeightsFault::Failed(JobError {
        code: FailureCode::DataDamaged,
        message: damaged.to_string(),
    })
}

pub(super) fn unavailable(message: String) -> WeightsFault {
    WeightsFault::Failed(JobError {
        code: FailureCode::WeightsUnavailable,
        message,
    })
}
