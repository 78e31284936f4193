//! The feature vectors of all images, from one pass through the frozen backbone or from what an earlier job left of one.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use crate::worker::autograd::without_gradients;
use crate::{
    domain::jobs::job::FailureCode,
    protocol::{TrainRun, UsedActivations, WorkerMessage},
    worker::{
        augment::View,
        nets::vectors,
        process::run_dir::RunDir,
        train::{
            context::TrainContext,
            input::{data::Sample, feed::Feed, loader::Item, precompute, views::CachedActivations},
            learner::Learner,
            progress::{halt::Halt, meter::Score, pulse::Heartbeat},
        },
    },
};

/// Those of a run's training and validation images.
pub struct AllFeatures {
    pub train: Features,
    /// None where there are no validation images.
    pub val: Option<Features>,
    /// What an earlier job left, or what this one leaves.
    pub activations: Option<UsedActivations>,
}

impl AllFeatures {
    /// # Errors
    /// `diverged` if some are not finite.
    pub fn of(
        run: &TrainRun,
        context: &TrainContext,
        dir: &RunDir,
        learner: &Learner,
        heartbeat: &mut Heartbeat,
    ) -> Result<Self, Halt> {
        let began = Instant::now();
        let reporter = heartbeat.reporter().clone();
        let feed = precompute::feed(1, run, context, dir, learner, &reporter, heartbeat)?;
        let mut of = |samples| Features::of(samples, &feed, context, learner, heartbeat);
        let (train, val) = (of(&context.data.train)?, of(&context.data.val)?);
        let train = train.ok_or_else(|| anyhow::anyhow!("there are no training images"))?;
        if [Some(&train), val.as_ref()]
            .into_iter()
            .flatten()
            .any(|features| !features.are_finite())
        {
            return Err(not_finite());
        }
        reporter.send(&WorkerMessage::log(format!(
            "the feature vectors of {} images are there after {:.2} s",
            context.data.train.len() + context.data.val.len(),
            began.elapsed().as_secs_f64()
        )));
        Ok(Self {
            train,
            val,
            activations: feed.used_activations(),
        })
    }
}

pub fn not_finite() -> Halt {
    let message = "the features of these images, or what a head computes from them, are not finite numbers; choose other weights, or \
                   `\"precision\": \"fp32\"`";
    Halt::failed(FailureCode::Diverged, message)
}

/// Feature vectors `[N, features]`, 32-bit floats on the CPU, and the class of each.
pub struct Features {
    pub vectors: Tensor,
    pub labels: Vec<i64>,
}

impl Features {
    /// Of these images, in this order, as validation sees them.
    pub fn of(
        samples: &[Sample],
        feed: &Feed,
        context: &TrainContext,
        learner: &Learner,
        heartbeat: &mut Heartbeat,
    ) -> Result<Option<Self>, Halt> {
        if samples.is_empty() {
            return Ok(None);
        }
        let item = |sample: &Sample| {
            let id = context.data.images[sample.image].id;
            Item::new(*sample, id, View::PLAIN)
        };
        let items = samples.chunks(CachedActivations::batch_size(context.device));
        let items = items.map(|chunk| chunk.iter().map(item).collect());
        let mut batches = feed.batches(items.collect());
        let mut parts = Vec::new();
        while let Some(batch) = batches.next(learner)? {
            heartbeat.beat()?;
            let features = vectors(&batch.boundary.to_kind(Kind::Float));
            parts.push(features.to_device(Device::Cpu));
        }
        Ok(Some(Self {
            vectors: Tensor::cat(&parts, 0),
            labels: samples.iter().map(|sample| i64::from(sample.class)).collect(),
        }))
    }

    pub fn count(&self) -> u64 {
        self.labels.len() as u64
    }

    pub fn are_finite(&self) -> bool {
        self.vectors.isfinite().all().int64_value(&[]) != 0
    }

    /// Loss and hits of the network's head, and the logits of each batch.
    pub fn judged(
        &self,
        learner: &Learner,
        context: &TrainContext,
        heartbeat: &mut Heartbeat,
    ) -> Result<(Score, Vec<Tensor>), Halt> {
        let (mut outcomes, mut outputs) = (Vec::new(), Vec::new());
        let labels = Tensor::from_slice(&self.labels);
        let batch = context.plan.batch_size as i64;
        let rows = self.labels.len() as i64;
        for first in (0..rows).step_by(batch.max(1) as usize) {
            heartbeat.beat()?;
            let count = batch.min(rows - first);
            let part = |all: &Tensor| all.narrow(0, first, count).to_device(context.device);
            let logits = without_gradients(|| learner.network.head_of_vectors(&part(&self.vectors)));
            let outcome = learner.evaluated(&logits, &part(&labels));
            outcomes.push((outcome, count as u64));
            outputs.push(logits);
        }
        Ok((Score::read(&outcomes).into_iter().sum(), outputs))
    }
}
