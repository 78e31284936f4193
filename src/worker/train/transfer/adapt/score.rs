//! How good a model is on the images of the target domain.

use tch::{Device, Tensor};

use super::domains;
use crate::worker::autograd::without_gradients;
use crate::{
    domain::{
        jobs::adaptation::{TargetAccuracy, TargetScore},
        metrics::{self, Confusion},
    },
    worker::{
        augment::View,
        fault,
        nets::{layers::Mode, vectors},
        train::{
            context::{TrainContext, Unlabelled},
            input::{
                data::Sample,
                feed::{Batches, Feed},
                loader::Item,
            },
            learner::Learner,
            plan,
            progress::{halt::Halt, pulse::Heartbeat},
            tasks::outputs,
        },
    },
};

/// The evaluated network of a learner on both domains. `is_adapted`: whether its statistics are those of the target, so that the images of
/// the source have to be normalised by their own.
pub fn of(
    learner: &Learner,
    context: &TrainContext,
    target: &Unlabelled,
    feed: &Feed,
    is_adapted: bool,
    heartbeat: &mut Heartbeat,
) -> Result<Option<TargetScore>, Halt> {
    let Some(target_feed) = feed.unlabelled() else {
        return Ok(None);
    };
    let of_source = match is_adapted {
        true => Mode::Batch { share: None },
        false => Mode::Eval,
    };
    let source = features(learner, context, feed, of_source, heartbeat)?;
    let own = features(learner, &target.context, target_feed, Mode::Eval, heartbeat)?;
    Ok(Some(TargetScore {
        test: accuracy(learner, target, target_feed, heartbeat)?,
        domain_accuracy: domains::accuracy(&source, &own, target.run.spec.seed),
    }))
}

/// None where the target has no labels.
fn accuracy(
    learner: &Learner,
    target: &Unlabelled,
    feed: &Feed,
    heartbeat: &mut Heartbeat,
) -> Result<Option<TargetAccuracy>, Halt> {
    let Some(split) = target.split else {
        return Ok(None);
    };
    let outputs = outputs::of_validation(learner, feed, heartbeat, |_, _| {})?;
    let logits = outputs::joined(&outputs, &target.context.data.val, None)?;
    let accuracy = Confusion::of(logits.labels(), &logits.verdicts(1.0), logits.classes()).accuracy();
    let images = logits.images() as u64;
    let hits = (accuracy * images as f64).round() as u64;
    Ok(Some(TargetAccuracy {
        split,
        images,
        accuracy,
        accuracy_interval: metrics::wilson_interval(hits, images),
    }))
}

/// Of some of the training images of a context, evenly chosen, `[N, features]`, on the CPU.
fn features(
    learner: &Learner,
    context: &TrainContext,
    feed: &Feed,
    mode: Mode,
    heartbeat: &mut Heartbeat,
) -> Result<Tensor, Halt> {
    let train = &context.data.train;
    let step = train.len().div_ceil(domains::MOST).max(1);
    let chosen: Vec<Sample> = train.iter().step_by(step).copied().collect();
    let feed = feed.without_activations();
    let mut batches = plain_batches(&feed, context, &chosen);
    let mut parts = Vec::new();
    while let Some(batch) = batches.next(learner)? {
        heartbeat.beat()?;
        let features = fault::caught(|| without_gradients(|| learner.eval_features(&batch.boundary, mode)))?;
        parts.push(vectors(&features).to_device(Device::Cpu));
    }
    Ok(Tensor::cat(&parts, 0))
}

/// Batches of these images as validation sees them. None has a single image, which has no variance, unless there is only one.
pub fn plain_batches<'f>(feed: &'f Feed, context: &TrainContext, samples: &[Sample]) -> Batches<'f> {
    let item = |sample: &Sample| Item::new(*sample, context.data.images[sample.image].id, View::PLAIN);
    let ranges = plan::parts(0..samples.len(), context.plan.batch_size);
    let batches = ranges.map(|range| samples[range].iter().map(item).collect());
    feed.batches(batches.collect())
}

/// For a log.
pub fn about(score: &TargetScore) -> String {
    let told = format!(
        "a linear classifier tells the domain of {:.1} % of the images from their features",
        100.0 * score.domain_accuracy
    );
    match &score.test {
        Some(test) => format!(
            "{:.1} % of the {} target images (`{}`) are right, and {told}",
            100.0 * test.accuracy,
            test.images,
            test.split.as_str()
        ),
        None => told,
    }
}
