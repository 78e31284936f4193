//! How good features are that were learned without labels.

use tch::{Device, Kind, Tensor};

use crate::worker::autograd::without_gradients;
use crate::worker::{
    augment::View,
    nets::layers::unit,
    train::{
        context::TrainContext,
        input::{data::Sample, feed::Feed, loader::Item},
        judge::Evaluator,
        learner::Learner,
        progress::{halt::Halt, pulse::Heartbeat},
    },
};

/// How many of the most similar training images vote, and by which their cosines are divided in the exponent of a vote (Wu et al. 2018,
/// section 3.4; Caron et al. 2021, appendix F).
const NEIGHBOURS: i64 = 20;
const TEMPERATURE: f64 = 0.07;
/// Images of either kind that are looked at, evenly over all of them: more would say the same.
const MOST_IMAGES: usize = 10_000;
/// Images whose cosines are computed together.
const ROWS: i64 = 256;

/// The features of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Fraction of the validation images whose class is that of the most similar training images; none where there are no labels.
    pub knn_accuracy: Option<f64>,
    /// Root of the mean squared distance of the feature vectors, each of length 1, from their mean: 0 where all are the same, at most 1.
    pub spread: f64,
}

impl Quality {
    /// Below this the features hardly tell images apart.
    pub const COLLAPSED_SPREAD: f64 = 0.1;

    pub fn is_collapsed(&self) -> bool {
        self.spread < Self::COLLAPSED_SPREAD
    }
}

/// Of the network of a learner that is evaluated. `has_labels`: whether those of the images mean anything.
pub fn measure(
    learner: &Learner,
    context: &TrainContext,
    feed: &Feed,
    has_labels: bool,
    heartbeat: &mut Heartbeat,
) -> Result<Quality, Halt> {
    let mut of = |samples: &[Sample]| features(samples, learner, context, feed, heartbeat);
    let (known, known_labels) = of(&context.data.train)?;
    let spread = spread(&known);
    if !has_labels || context.data.val.is_empty() {
        return Ok(Quality {
            knn_accuracy: None,
            spread,
        });
    }
    let (asked, labels) = of(&context.data.val)?;
    let predicted = classes(&known, &known_labels, &asked);
    let right = predicted.eq_tensor(&labels).sum(Kind::Int64).int64_value(&[]);
    Ok(Quality {
        knn_accuracy: Some(right as f64 / labels.numel().max(1) as f64),
        spread,
    })
}

/// Feature vectors of length 1 as prediction computes them, `[N, features]`, and the class of each, `[N]`, on the CPU.
fn features(
    samples: &[Sample],
    learner: &Learner,
    context: &TrainContext,
    feed: &Feed,
    heartbeat: &mut Heartbeat,
) -> Result<(Tensor, Tensor), Halt> {
    let chosen: Vec<Sample> = samples
        .iter()
        .step_by(samples.len().div_ceil(MOST_IMAGES).max(1))
        .copied()
        .collect();
    let item = |sample: &Sample| Item::new(*sample, context.data.images[sample.image].id, View::PLAIN);
    let batches = chosen.chunks(context.plan.batch_size);
    let mut batches = feed.batches(batches.map(|batch| batch.iter().map(item).collect()).collect());
    let evaluator = Evaluator::new(learner);
    let mut found = Vec::new();
    while let Some(batch) = batches.next(learner)? {
        heartbeat.beat()?;
        let features = evaluator.outputs(&batch.boundary)?;
        found.push(features.to_device(Device::Cpu).to_kind(Kind::Float));
    }
    let labels: Vec<i64> = chosen.iter().map(|sample| i64::from(sample.class)).collect();
    Ok((unit(&Tensor::cat(&found, 0)), Tensor::from_slice(&labels)))
}

/// Of vectors of length 1, or 0.
fn spread(vectors: &Tensor) -> f64 {
    let images = vectors.size()[0].max(1) as f64;
    let sum = |squares: Tensor| squares.sum(Kind::Double).double_value(&[]);
    let of_mean = sum(vectors.mean_dim([0i64].as_slice(), false, Kind::Double).square());
    (sum(vectors.square()) / images - of_mean).max(0.0).sqrt()
}

/// The class of each asked vector by the votes of the nearest known ones.
fn classes(known: &Tensor, labels: &Tensor, asked: &Tensor) -> Tensor {
    without_gradients(|| {
        let count = labels.max().int64_value(&[]) + 1;
        let neighbours = NEIGHBOURS.min(known.size()[0]);
        let mut found = Vec::new();
        for first in (0..asked.size()[0]).step_by(ROWS as usize) {
            let rows = asked.narrow(0, first, ROWS.min(asked.size()[0] - first));
            let (cosines, places) = rows.matmul(&known.tr()).topk(neighbours, 1, true, true);
            let votes = (cosines / TEMPERATURE).exp();
            let voted = labels
                .index_select(0, &places.view(-1))
                .view(places.size().as_slice());
            let sums = Tensor::zeros([rows.size()[0], count], (Kind::Float, Device::Cpu));
            found.push(sums.scatter_add(1, &voted, &votes).argmax(1, false));
        }
        Tensor::cat(&found, 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::train::transfer::pretraining::golden;

    #[test]
    fn neighbours_vote_as_scikit_learns_do_and_the_spread_is_numpys() {
        let expected = golden::golden().knn;
        let [known, asked] = [&expected.known, &expected.asked].map(|rows| unit(&golden::tensor(rows)));
        let labels: Vec<i64> = expected
            .known_labels
            .iter()
            .map(|label| i64::from(*label))
            .collect();
        let found = Vec::<i64>::try_from(classes(&known, &Tensor::from_slice(&labels), &asked)).unwrap();
        let wanted: Vec<i64> = expected.predicted.iter().map(|label| i64::from(*label)).collect();
        assert_eq!(found, wanted);
        assert!((spread(&known) - expected.spread).abs() < 1e-6);
    }

    #[test]
    fn features_that_are_all_the_same_have_no_spread() {
        let same = unit(&Tensor::ones([7, 3], (Kind::Float, Device::Cpu)));
        assert!(spread(&same) < 1e-3);
        let apart = Tensor::eye(6, (Kind::Float, Device::Cpu));
        assert!((spread(&apart) - (5.0f64 / 6.0).sqrt()).abs() < 1e-6);
        let quality = |spread| Quality {
            knn_accuracy: None,
            spread,
        };
        assert!(quality(0.01).is_collapsed() && !quality(0.3).is_collapsed());
    }
}
