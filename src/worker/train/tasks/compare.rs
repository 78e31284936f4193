//! A job of kind `compare`: for each backbone the features of all images, a head that is solved on them, and what it gives and costs. Every
//! attempt starts over; features that earlier jobs have left are used, and new ones are left for later jobs.

use std::time::Instant;

use tch::{Device, Kind};

use super::{budget::Budget, latency};
use crate::{
    domain::{
        jobs::{
            comparison::{ComparedBackbone, Comparison, Measured},
            job::{FailureCode, JobError},
        },
        metrics::{self, Confusion},
        spec::JobKind,
    },
    protocol::{CompareRun, FoundResult, RunResult, TrainRun, UsedActivations, WorkerMessage},
    worker::{
        device,
        fault::{self, TorchFault},
        nets::{Network, folded::Folded},
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        train::{
            progress::{halt::Halt, reporter::ProgressReporter},
            session::Outcome,
            setup, solve,
        },
    },
};

/// Name of the table in the run directory.
const COMPARISON_FILE: &str = "comparison.json";

pub fn compare(
    run: &CompareRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<RunResult, Halt> {
    let common = &run.trainings[0].common;
    let budget = Budget::new(run.max_seconds, common.seconds_used);
    let mut progress = ProgressReporter::new(reporter, run.trainings.len());
    let mut backbones = Vec::new();
    let mut activations = Vec::new();
    let mut images = 0;
    for training in &run.trainings {
        budget.check()?;
        let weights = String::from(training.spec.backbone.weights.clone());
        let called = format!(
            "{} with the weights `{weights}`",
            training.spec.backbone.architecture
        );
        let (measured, error) = match caught(training, dir, reporter, stop) {
            Ok((measured, validation_images, used)) => {
                images = validation_images;
                // The same backbone may be named twice.
                activations.retain(|known| !used.contains(known));
                activations.extend(used);
                reporter.send(&WorkerMessage::log(format!(
                    "{called}: {:.1} % of {images} images are right, after {:.1} s",
                    100.0 * measured.accuracy,
                    measured.seconds
                )));
                (Some(measured), None)
            }
            Err(Halt::Failed(error)) => {
                let message = format!("{called} cannot be measured: {}", error.message);
                reporter.send(&WorkerMessage::warning("backbone_not_measured", message));
                (None, Some(error.message))
            }
            Err(halt) => return Err(halt),
        };
        backbones.push(ComparedBackbone {
            architecture: training.spec.backbone.architecture,
            weights,
            image_size: training.spec.image.size,
            measured,
            error,
        });
        progress.count(images as usize, 1);
    }
    if let (true, Some(error)) = (
        backbones.iter().all(|backbone| backbone.measured.is_none()),
        backbones.first().and_then(|backbone| backbone.error.clone()),
    ) {
        let message = format!("no backbone can be measured; the first one: {error}");
        return Err(Halt::failed(FailureCode::InvalidData, message));
    }
    let lineage = common.dataset.lineage.clone();
    let comparison = Comparison::new(lineage, images, &common.device, common.threads, backbones);
    dir.write_compact_json(COMPARISON_FILE, &comparison)?;
    Ok(RunResult::Found(FoundResult {
        activations,
        ..FoundResult::new(JobKind::Compare, dir.artifact(COMPARISON_FILE)?)
    }))
}

/// What a backbone gives and costs, the number of validation images, and the features that were used.
type OfBackbone = (Measured, u64, Vec<UsedActivations>);

/// One that does not fit into the memory does not end the comparison.
fn caught(
    training: &TrainRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<OfBackbone, Halt> {
    match fault::caught(|| measured(training, dir, reporter, stop)) {
        Ok(outcome) => outcome,
        Err(TorchFault::OutOfMemory(_)) => Err(Halt::Failed(JobError::new(
            FailureCode::OutOfMemory,
            "there is not enough memory for it; lower `batch_size`",
        ))),
        Err(fault) => Err(anyhow::Error::from(fault).into()),
    }
}

fn measured(
    training: &TrainRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<OfBackbone, Halt> {
    let began = Instant::now();
    let quiet = &reporter.without_losses();
    let training = &*setup::described(training, quiet, stop)?;
    let context = setup::context(training, dir, quiet, stop)?;
    let start = setup::start(training, &context, quiet, stop)?;
    let outcome = solve::make(training, &context, dir, quiet, stop, start)?;
    let Some(logits) = &outcome.logits else {
        let message = "there are no validation images to compare by; raise `split.val`";
        return Err(Halt::failed(FailureCode::InvalidData, message));
    };
    let verdicts = logits.verdicts(1.0);
    let confusion = Confusion::of(logits.labels(), &verdicts, logits.classes());
    let images = logits.images() as u64;
    let hits = (confusion.accuracy() * images as f64).round() as u64;
    let device = device::parse(&training.common.device).map_err(anyhow::Error::msg)?;
    let (architecture, side) = (training.spec.backbone.architecture, training.spec.image.size);
    let classes = logits.classes() as u64;
    let (latency_ms, bytes) = cost(&outcome, side, device)?;
    Ok((
        Measured {
            accuracy: confusion.accuracy(),
            accuracy_interval: metrics::wilson_interval(hits, images),
            macro_f1: confusion.macro_f1(),
            loss: metrics::mean_loss(&verdicts),
            l2: outcome.l2,
            seconds: began.elapsed().as_secs_f64(),
            latency_ms,
            parameters: architecture.parameters(classes),
            multiply_adds: architecture.multiply_adds(classes, side),
            bytes,
        },
        images,
        outcome.activations,
    ))
}

/// Time of a prediction for one image in milliseconds, in the form that serves, and the size of all tensors.
fn cost(outcome: &Outcome, side: u32, device: Device) -> Result<(f64, u64), Halt> {
    let weights = outcome.learner.with(&outcome.best.weights);
    let bytes = weights
        .values()
        .map(|tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64)
        .sum();
    let own = &outcome.learner.network;
    let network = Network::loaded(own.architecture(), own.outputs(), &weights, Device::Cpu)
        .map_err(|fault| anyhow::anyhow!("{fault}"))?;
    let folded = Folded::of(&network, Kind::Float, device);
    Ok((latency::of_one_image(&folded, side), bytes))
}
