//! Fine-tuning: from a dataset version and base weights to a model, restartable at any step.
//!
//! [`run`] is what the train child does. Reading order: `setup` (data, pixels, network), `session` (the epoch loop) and what it uses:
//! `plan` (what is trained on when), `feed`, `views`, `loader` and `mixing` (batches), `learner` and `sgd` (one step), `meter` (messages), `best`,
//! `keeper` and `checkpoint`; last `publish`. [`preview`] draws
//! batches and trains on none. Nothing here talks to the server except through its [`Reporter`], and nothing outlives the
//! run but files in its directory.

mod best;
mod checkpoint;
mod data;
mod feed;
mod halt;
mod keeper;
mod learner;
mod loader;
mod meter;
mod mixing;
mod pack;
mod plan;
mod preview;
mod publish;
mod pulse;
mod session;
mod setup;
mod sgd;
mod views;

#[cfg(test)]
mod tests;

pub use self::preview::preview;
use self::{halt::Halt, session::Session};
use crate::{
    domain::job::{FailureCode, JobError},
    protocol::{RunResult, TrainResult, TrainRun},
    worker::{
        child::{Reporter, RunDir, StopFlag, Stopped},
        fault::{self, TorchFault},
    },
};

/// Trains a model as `run` says and leaves it, and its checkpoints, in `dir`. Gives up the thread's and libtorch's number of threads to
/// `run.threads`.
///
/// # Errors
/// [`Stopped`] once `stop` is set and the state is saved; anything else is a failure of ours or of the machine, worth another attempt.
/// What the person who sent the job can do something about is no error but [`RunResult::Failed`].
pub fn run(run: &TrainRun, dir: &RunDir, reporter: &Reporter, stop: &StopFlag) -> anyhow::Result<RunResult> {
    let failed = |error| Ok(RunResult::Failed { error });
    match fault::caught(|| train(run, dir, reporter, stop)) {
        Ok(Ok(result)) => Ok(RunResult::Trained(Box::new(result))),
        Ok(Err(Halt::Failed(error))) => failed(error),
        Ok(Err(Halt::Stopped)) => Err(Stopped.into()),
        Ok(Err(Halt::Broken(error))) => Err(error),
        Err(TorchFault::OutOfMemory(_)) => failed(out_of_memory(run)),
        Err(fault) => Err(fault.into()),
    }
}

fn train(run: &TrainRun, dir: &RunDir, reporter: &Reporter, stop: &StopFlag) -> Result<TrainResult, Halt> {
    let ground = setup::ground(run, dir, reporter, stop)?;
    let start = setup::start(run, &ground, reporter, stop)?;
    let outcome = Session::new(run, &ground, dir, reporter, stop, start).train()?;
    publish::publish(run, &ground, dir, outcome)
}

fn out_of_memory(run: &TrainRun) -> JobError {
    let (batch_size, size) = (run.spec.batch_size, run.spec.image.size);
    JobError {
        code: FailureCode::OutOfMemory,
        message: format!(
            "the memory of {} does not suffice for batches of {batch_size} pictures of {size} pixels; lower `batch_size` or \
             `image.size`, freeze more of the network, or take a smaller architecture",
            run.device
        ),
    }
}
