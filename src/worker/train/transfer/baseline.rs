//! The same training on the labelled images alone, before the one with a target domain or teachers: without it nobody could say what these
//! bring.

use std::{path::PathBuf, time::Instant};

use crate::{
    domain::jobs::{adaptation::TargetScore, baseline::Baseline},
    protocol::{TrainRun, WorkerMessage},
    worker::{
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        train::{
            checkpoints::checkpoint,
            context::TrainContext,
            progress::halt::Halt,
            session::Session,
            setup,
            transfer::{adapt::score, distill::report},
        },
    },
};

/// A run, and the training that comes before it if one does. Each gets the checkpoints of its own.
pub fn parted(run: &TrainRun) -> Result<(TrainRun, Option<TrainRun>), Halt> {
    let mut run = run.clone();
    let adaptation = run.spec.domain_adaptation.as_ref();
    let distill = run.spec.distill.as_ref();
    // What `adabn` changes comes after the training, which is its own baseline.
    let wanted = adaptation.is_some_and(|adaptation| adaptation.baseline && adaptation.method.has_loss())
        || distill.is_some_and(|distill| distill.baseline);
    if !wanted {
        return Ok((run, None));
    }
    let mut baseline = run.clone();
    baseline.spec.domain_adaptation = None;
    baseline.spec.distill = None;
    baseline.spec.max_seconds = run.spec.max_seconds.map(|limit| limit.div_ceil(2));
    let job = checkpoint::identity(&baseline).map_err(anyhow::Error::new)?;
    let of_baseline = |path: &PathBuf| checkpoint::job_of(path).is_some_and(|found| found == job);
    let (its, own) = run.checkpoints.into_iter().partition(of_baseline);
    (baseline.checkpoints, run.checkpoints) = (its, own);
    Ok((run, Some(baseline)))
}

/// Trains `baseline`, in the context of `run`, and says how good it is.
pub fn train(
    baseline: &TrainRun,
    run: &TrainRun,
    context: &mut TrainContext,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Baseline, Halt> {
    let began = Instant::now();
    let without = match run.spec.distill {
        Some(_) => "teachers",
        None => "adaptation",
    };
    reporter.send(&WorkerMessage::log(format!(
        "first the same training without {without}, to compare with (`baseline`)"
    )));
    setup::plan_for(context, baseline)?;
    let scored = scored(baseline, context, dir, reporter, stop);
    setup::plan_for(context, run)?;
    let (score, accuracy) = match scored {
        Ok(scored) => scored,
        Err(Halt::Failed(error)) => {
            let message = format!(
                "the training without {without} failed, so that there is nothing to compare with: {}",
                error.message
            );
            reporter.send(&WorkerMessage::warning("no_baseline", message));
            (None, None)
        }
        Err(halt) => return Err(halt),
    };
    if let Some(score) = &score {
        reporter.send(&WorkerMessage::log(format!(
            "without adaptation {}",
            score::about(score)
        )));
    }
    Ok(Baseline {
        score,
        accuracy,
        seconds: run.common.seconds_used + began.elapsed().as_secs_f64(),
    })
}

fn scored(
    baseline: &TrainRun,
    context: &TrainContext,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(Option<TargetScore>, Option<f64>), Halt> {
    let quiet = &reporter.without_losses();
    let start = setup::start(baseline, context, quiet, stop)?;
    let outcome = Session::new(baseline, context, dir, quiet, stop, start).train()?;
    let accuracy = outcome.logits.as_ref().map(report::accuracy);
    Ok((outcome.scores.map(|scores| scores.latest), accuracy))
}
