//! Fine-tuning: from a dataset version and base weights to a model, restartable at any step.
//!
//! [`run`] is the main function of the train child. Reading order: `setup` (data, pixels, network), `session` (the epoch loop) and what it
//! uses: `plan` and `balance` (order of the data), `schedule` and `history` (learning rate, end of training), `feed`, `views`, `loader` and
//! `mixing` (batches), `learner` with `loss`, `dropout`, `precision`, `optimizer` and `portion` (one step), `meter` (messages), `best`,
//! `writer` and `checkpoint`; last `publish`. `transfer` adds what is learned from besides the labels; `solve` makes heads at once instead of
//! a session. [`evaluate()`], [`find_lr`], [`batch_predict()`], [`compare()`], [`label_check()`], [`cross_validate()`] and [`pretrain()`] are the
//! tasks of the other kinds of job;
//! [`preview()`] draws batches without training. Nothing here communicates with the server except through its [`Reporter`], and nothing
//! outlives the run but files in its directory.

mod checkpoints;
mod gradients;
mod head;
mod input;
mod judge;
mod learner;
mod loss;
mod optimizer;
mod plan;
mod precision;
mod progress;
mod publish;
mod session;
mod setup;
mod solve;
mod tasks;
mod transfer;

mod context;
#[cfg(test)]
mod tests;

pub use self::tasks::preview::preview;
use self::{progress::halt::Halt, session::Session, transfer::baseline};
use super::process::{
    child::{Reporter, StopFlag, Stopped},
    run_dir::RunDir,
};
use crate::{
    domain::jobs::job::{FailureCode, JobError},
    protocol::{
        BatchPredictRun, CompareRun, CrossValidateRun, EvaluateRun, LabelCheckRun, LrFindRun, PretrainRun,
        RunResult, RunSpec, TrainResult, TrainRun,
    },
    worker::fault::{self, TorchFault},
};

/// Runs a job of any kind; otherwise like [`run`].
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
        RunSpec::Compare(job) => compare(job, dir, reporter, stop),
        RunSpec::LabelCheck(job) => label_check(job, dir, reporter, stop),
        RunSpec::CrossValidate(job) => cross_validate(job, dir, reporter, stop),
        RunSpec::Pretrain(job) => pretrain(job, dir, reporter, stop),
        other => anyhow::bail!("a run of kind {} is not a job", other.kind()),
    }
}

/// Trains a model as specified by `run` and stores it, and its checkpoints, in `dir`. Sets the thread's and libtorch's number of threads to
/// `run.common.threads`.
///
/// # Errors
/// [`Stopped`] once `stop` is set and the state is saved; anything else is a bug or a fault of the machine, worth another attempt. Problems
/// that the user can solve are not errors but [`RunResult::Failed`].
pub fn run(run: &TrainRun, dir: &RunDir, reporter: &Reporter, stop: &StopFlag) -> anyhow::Result<RunResult> {
    told(
        || train(run, dir, reporter, stop).map(|result| RunResult::Trained(Box::new(result))),
        || out_of_memory(run),
    )
}

/// Evaluates a model as specified by `run` and stores the evaluation in `dir`; otherwise as [`run`].
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

/// Classifies images as specified by `run` and stores a row for each in `dir`; otherwise as [`run`].
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

/// Searches for a learning rate as specified by `run` and stores the curve in `dir`; otherwise as [`run`].
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

/// Measures backbones as specified by `run` and stores the comparison in `dir`; otherwise as [`run`].
pub fn compare(
    run: &CompareRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    told(
        || tasks::compare::compare(run, dir, reporter, stop),
        || out_of_memory(&run.trainings[0]),
    )
}

/// Looks for doubtful labels as specified by `run` and stores the list in `dir`; otherwise as [`run`].
pub fn label_check(
    run: &LabelCheckRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    told(
        || tasks::label_check::label_check(run, dir, reporter, stop),
        || out_of_memory(&run.train),
    )
}

/// Cross-validates as specified by `run` and stores the scores in `dir`; otherwise as [`run`].
pub fn cross_validate(
    run: &CrossValidateRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    told(
        || tasks::cross_validate::cross_validate(run, dir, reporter, stop),
        || out_of_memory(&run.train),
    )
}

/// Trains a backbone without labels as specified by `run` and stores a model without a head in `dir`; otherwise as [`run`].
pub fn pretrain(
    run: &PretrainRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    told(
        || {
            let trained = tasks::pretrain::pretrain(run, dir, reporter, stop)?;
            Ok(RunResult::Trained(Box::new(trained)))
        },
        // Nothing of it can be frozen.
        || batch_too_large(&run.train.common.device, run.train.spec.batch_size),
    )
}

/// Converts the outcome of a task for the rest of the worker.
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
    let run = &*setup::described(run, reporter, stop)?;
    let mut context = setup::context(run, dir, reporter, stop)?;
    let (run, baseline) = baseline::parted(run)?;
    let resumed = setup::resumed(&run, &context, reporter);
    let start = match (resumed, baseline) {
        (Some(resumed), _) => resumed,
        (None, None) => setup::begin(&run, &context, reporter, stop)?,
        (None, Some(baseline)) => {
            let baseline = baseline::train(&baseline, &run, &mut context, dir, reporter, stop)?;
            let (learner, start) = setup::begin(&run, &context, reporter, stop)?;
            (learner, start.after(baseline))
        }
    };
    let outcome = match run.spec.head.is_made_at_once() {
        true => solve::make(&run, &context, dir, reporter, stop, start)?,
        false => Session::new(&run, &context, dir, reporter, stop, start).train()?,
    };
    publish::publish(&run, &context, dir, outcome)
}

fn batch_too_large(device: &str, batch_size: u32) -> JobError {
    let message = format!(
        "{device} does not have enough memory for batches of {batch_size} images; lower `batch_size`"
    );
    JobError::new(FailureCode::OutOfMemory, message)
}

fn out_of_memory(run: &TrainRun) -> JobError {
    let (batch_size, size) = (run.spec.batch_size, run.spec.image.size);
    JobError {
        code: FailureCode::OutOfMemory,
        message: format!(
            "{} does not have enough memory for batches of {batch_size} images of {size} pixels; lower `batch_size` or \
             `image.size`, freeze more of the network, or choose a smaller architecture",
            run.common.device
        ),
    }
}
