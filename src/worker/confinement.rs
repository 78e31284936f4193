//! What a child does before its work: fetch the weights that it needs, then give up everything that the work does not need.
//!
//! The only children with a network are those that fetch weights, and only while they do. They are confined then, too, to the cache; what was
//! fetched is read later, without a network. All of this happens before the child has a second thread (`process::sandbox`).

use std::{fs, path::Path};

use super::{
    process::child::{Reporter, StdinWatch, StopFlag, Stopped},
    weights::{self, WeightsFault},
};
use crate::{
    domain::{
        jobs::job::{FailureCode, JobError},
        spec::Architecture,
    },
    protocol::{RunSpec, WeightsSource, WeightsTask, WorkerMessage},
    sandbox::{self, Mode, Policy},
};

/// What is left to do.
pub enum Confined {
    Ready(RunSpec),
    /// Without its weights there is nothing to do.
    Failed(JobError),
}

/// Confines this process to a run in `folder`, for good.
///
/// # Errors
/// [`Stopped`] if the server asked for it meanwhile, and what is missing of a sandbox that is required.
pub fn confine(
    mut spec: RunSpec,
    folder: &Path,
    mode: Mode,
    reporter: &Reporter,
) -> anyhow::Result<Confined> {
    let policy = Policy {
        read: spec.reads(),
        write: vec![folder.to_owned()],
        network: false,
        cards: spec.uses_a_card(),
    };
    let failed = match is_to_fetch(&spec) {
        true => fetch(&mut spec, policy.clone(), mode, reporter)?,
        false => None,
    };
    sandbox::enter(mode, &policy)?;
    Ok(match failed {
        Some(error) => Confined::Failed(error),
        None => Confined::Ready(spec),
    })
}

/// Confines a child that answers predictions: its models are in one folder, where the server puts those that are asked for.
///
/// # Errors
/// What is missing of a sandbox that is required.
pub fn confine_predictions(models: Option<&Path>, device: &str, mode: Mode) -> anyhow::Result<()> {
    let policy = Policy {
        read: models.into_iter().map(Path::to_owned).collect(),
        cards: device.starts_with("cuda"),
        ..Policy::default()
    };
    Ok(sandbox::enter(mode, &policy)?)
}

fn is_to_fetch(spec: &RunSpec) -> bool {
    match spec {
        RunSpec::Preview(run) => run.hub.as_ref().is_some_and(weights::is_description_to_fetch),
        RunSpec::Weights(run) => match &run.task {
            WeightsTask::Fetch { source, .. } => weights::is_to_fetch(source),
            WeightsTask::Verify { .. } => false,
        },
        jobs => (jobs.trainings().iter()).any(|training| weights::is_to_fetch(&training.weights)),
    }
}

/// Fetches all weights of a run into their caches. What cannot be fetched is noted in the run, or is the reason why the run fails.
fn fetch(
    spec: &mut RunSpec,
    afterwards: Policy,
    mode: Mode,
    reporter: &Reporter,
) -> anyhow::Result<Option<JobError>> {
    sandbox::enter(mode, &while_fetching(spec, afterwards))?;
    // Its thread ends here, before there is less that it may do.
    let watch = StdinWatch::begin()?;
    let stop = watch.flag();
    let outcome = match spec {
        RunSpec::Preview(run) => match &run.hub {
            Some(hub) => {
                weights::describe(hub, run.spec.job.backbone.architecture, reporter, &stop).map(drop)
            }
            None => Ok(()),
        },
        RunSpec::Weights(run) => match &run.task {
            WeightsTask::Fetch { source, architecture } => {
                weights::fetch(source, *architecture, reporter, &stop)
            }
            WeightsTask::Verify { .. } => Ok(()),
        },
        jobs => fetch_for_trainings(jobs, reporter, &stop),
    };
    match outcome {
        Ok(()) => Ok(None),
        Err(WeightsFault::Stopped) => Err(Stopped.into()),
        Err(WeightsFault::Failed(error)) => Ok(Some(error)),
    }
}

/// Besides what is left afterwards, which must be left now, too: sockets, and the caches to write to.
fn while_fetching(spec: &RunSpec, afterwards: Policy) -> Policy {
    let mut caches = Vec::new();
    let mut policy = Policy {
        network: true,
        ..afterwards
    };
    if let RunSpec::Preview(run) = spec {
        caches.extend(run.hub.iter().map(|hub| hub.cache.clone()));
    }
    let of_task = match spec {
        RunSpec::Weights(run) => match &run.task {
            WeightsTask::Fetch { source, .. } => Some(&**source),
            WeightsTask::Verify { .. } => None,
        },
        _ => None,
    };
    let of_trainings = spec.trainings().into_iter().map(|training| &training.weights);
    for source in of_task.into_iter().chain(of_trainings) {
        caches.extend(source.caches().into_iter().map(Path::to_owned));
        policy.read.extend(source.certificates().map(Path::to_owned));
    }
    for cache in &caches {
        // A cache that cannot be made is reported by whoever writes to it.
        let _ = fs::create_dir_all(cache);
    }
    policy.write.extend(caches);
    policy
}

fn fetch_for_trainings(spec: &mut RunSpec, reporter: &Reporter, stop: &StopFlag) -> Result<(), WeightsFault> {
    let compares = matches!(spec, RunSpec::Compare(_));
    for training in spec.trainings_mut() {
        let architecture: Architecture = training.spec.backbone.architecture;
        let error = match weights::fetch(&training.weights, architecture, reporter, stop) {
            Ok(()) => continue,
            Err(WeightsFault::Failed(error)) => error,
            stopped => return stopped,
        };
        if !training.checkpoints.is_empty() {
            // Who resumes needs none. If no checkpoint can be read, the attempt fails for want of a network, and the next one has no
            // checkpoints.
            reporter.send(&WorkerMessage::log(error.message));
        } else if compares || error.code == FailureCode::WeightsUnavailable {
            // Said when these are used: a comparison goes on with the others.
            training.weights = WeightsSource::Unavailable {
                message: error.message,
            };
        } else {
            return Err(WeightsFault::Failed(error));
        }
    }
    Ok(())
}
