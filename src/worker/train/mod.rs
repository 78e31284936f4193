//! Fine-tuning: from a dataset version and base weights to a model, restartable at any step.
//!
//! [`run`] is what the train child does. Reading order: `setup` (data, pixels, network), `session` (the epoch loop) and what it uses:
//! `plan` and `balance` (what is trained on when), `schedule` and `history` (how fast, how long), `feed`, `views`, `loader` and `mixing`
//! (batches), `learner` with `loss`, `dropout`, `precision`, `optimizer` and `portion` (one step), `meter` (messages), `best`, `keeper` and `checkpoint`;
//! last `publish`. [`evaluate()`], [`find_lr`] and [`batch_predict()`] are the shorter works of the other kinds of job; [`preview()`] draws batches and trains on
//! none. Nothing here talks to the server except through its [`Reporter`], and nothing outlives the
//! run but files in its directory.

mod checkpoints;
mod gradients;
mod input;
mod judge;
mod learner;
mod loss;
mod optimizer;
mod plan;
mod precision;
mod progress;
mod publish;
mod schedule;
mod session;
mod setup;
mod tasks;

mod context;
mod start;
#[cfg(test)]
mod tests;

pub use self::tasks::preview::preview;
use self::{progress::halt::Halt, session::Session};
use super::process::{
    child::{Reporter, StopFlag, Stopped},
    run_dir::RunDir,
};
use crate::{
    domain::jobs::job::{FailureCode, JobError},
    protocol::{BatchPredictRun, EvaluateRun, LrFindRun, RunResult, RunSpec, TrainResult, TrainRun},
    worker::fault::{self, TorchFault},
};

/// Does the work of a job of any kind; otherwise as [`run`].
pub fn run_job(
    job: &RunSpec,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    match job {
        RunSpec::Train(job) => run(job, dir, reporter, stop),
        RunSpec::Evaluate(job) => evaluate(job, dir, reporter, stop),
        RunSpec::LrFind(job) => find_lr(job, dir, reporter, stop),
        RunSpec::BatchPredict(job) => batch_predict(job, dir, reporter, stop),
        other => anyhow::bail!("a run of kind {} is no job", other.kind()),
    }
}

/// Trains a model as `run` says and leaves it, and its checkpoints, in `dir`. Gives up the thread's and libtorch's number of threads to
/// `run.common.threads`.
///
/// # Errors
/// [`Stopped`] once `stop` is set and the state is saved; anything else is a failure of ours or of the machine, worth another attempt.
/// What the person who sent the job can do something about is no error but [`RunResult::Failed`].
pub fn run(run: &TrainRun, dir: &RunDir, reporter: &Reporter, stop: &StopFlag) -> anyhow::Result<RunResult> {
    told(
        || train(run, dir, reporter, stop).map(|result| RunResult::Trained(Box::new(result))),
        || out_of_memory(run),
    )
}

/// Measures a model as `run` says and leaves the evaluation in `dir`; otherwise as [`run`].
pub fn evaluate(
    run: &EvaluateRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    told(
        || tasks::evaluate::evaluate(run, dir, reporter, stop),
        || batch_too_large(&run.common.device, run.spec.batch_size),
    )
}

/// Classifies pictures as `run` says and leaves a row for each in `dir`; otherwise as [`run`].
pub fn batch_predict(
    run: &BatchPredictRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    told(
        || tasks::batch_predict::batch_predict(run, dir, reporter, stop),
        || batch_too_large(&run.common.device, run.spec.batch_size),
    )
}

/// Looks for a learning rate as `run` says and leaves the curve in `dir`; otherwise as [`run`].
pub fn find_lr(
    run: &LrFindRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    told(
        || tasks::lr_find::find_lr(run, dir, reporter, stop),
        || out_of_memory(&run.train),
    )
}

/// How work ended, in the terms of the rest of the worker.
fn told(
    work: impl FnOnce() -> Result<RunResult, Halt>,
    out_of_memory: impl FnOnce() -> JobError,
) -> anyhow::Result<RunResult> {
    let failed = |error| Ok(RunResult::Failed(error));
    match fault::caught(work) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(Halt::Failed(error))) => failed(error),
        Ok(Err(Halt::Stopped)) => Err(Stopped.into()),
        Ok(Err(Halt::Broken(error))) => match error.downcast_ref() {
            Some(TorchFault::OutOfMemory(_)) => failed(out_of_memory()),
            _ => Err(error),
        },
        Err(TorchFault::OutOfMemory(_)) => failed(out_of_memory()),
        Err(fault) => Err(fault.into()),
    }
}

fn train(run: &TrainRun, dir: &RunDir, reporter: &Reporter, stop: &StopFlag) -> Result<TrainResult, Halt> {
    let ground = setup::ground(run, dir, reporter, stop)?;
    let start = setup::start(run, &ground, reporter, stop)?;
    let outcome = Session::new(run, &ground, dir, reporter, stop, start).train()?;
    publish::publish(run, &ground, dir, outcome)
}

fn batch_too_large(device: &str, batch_size: u32) -> JobError {
    let message = format!(
        "the memory of {device} does not suffice for batches of {batch_size} pictures; lower `batch_size`"
    );
    JobError::new(FailureCode::OutOfMemory, message)
}

fn out_of_memory(run: &TrainRun) -> JobError {
    let (batch_size, size) = (run.spec.batch_size, run.spec.image.size);
    JobError {
        code: FailureCode::OutOfMemory,
        message: format!(
            "the memory of {} does not suffice for batches of {batch_size} pictures of {size} pixels; lower `batch_size` or \
             `image.size`, freeze more of the network, or take a smaller architecture",
            run.common.device
        ),
    }
}
