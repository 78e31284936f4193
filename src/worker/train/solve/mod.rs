//! Heads that are made at once from the feature vectors of a frozen backbone, instead of step by step: by L-BFGS to convergence, or without
//! any training.
//!
//! Called by the train child instead of a `Session`. Each candidate, a value of the penalty, is judged on the training and the validation
//! images and told as an epoch. Nothing is saved on the way: with kept activations all of it takes less than the restart of a process. The
//! result does not depend on the number of threads, as far as the feature vectors do not. [`probe`] makes heads of some images and judges
//! others by them, for cross-validation.

pub mod beside_base;
mod descent;
pub mod features;
pub mod lbfgs;
mod nearest;
pub mod objective;
mod path;
pub mod probe;

use std::time::Instant;

use tch::Tensor;

use self::features::{AllFeatures, Features, not_finite};
use super::{
    checkpoints::{
        best::{self, Best},
        start::Start,
    },
    context::TrainContext,
    learner::Learner,
    progress::{halt::Halt, meter::Score, pulse::Heartbeat},
    session::Outcome,
    tasks::outputs,
};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::{
        jobs::{
            event::EpochEvent,
            job::{Progress, StopReason},
        },
        models::model::ModelMetrics,
    },
    protocol::{TrainRun, WorkerMessage},
    worker::{
        files::state::StateDict,
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
    },
};

/// Makes the head that `run` asks for.
pub fn make(
    run: &TrainRun,
    context: &TrainContext,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
    (learner, start): (Learner, Start),
) -> Result<Outcome, Halt> {
    let began = Instant::now();
    let mut heartbeat = Heartbeat::new(reporter, stop);
    let AllFeatures {
        train,
        val,
        activations,
    } = AllFeatures::of(run, context, dir, &learner, &mut heartbeat)?;
    // Of arithmetic outside of the threads that the solver starts.
    let _one = OneThread::new(run.common.threads);
    let mut maker = Maker {
        seconds_before: run.common.seconds_used.max(start.seconds_used),
        run,
        context,
        reporter,
        heartbeat,
        learner,
        train,
        val,
        best: None,
        began,
    };
    let reason = match run.spec.head.kind.learns() {
        true => path::follow(&mut maker)?,
        false => nearest::set(&mut maker)?,
    };
    let Some(Judged { best, outputs, l2 }) = maker.best else {
        return Err(anyhow::anyhow!("no head was made").into());
    };
    let logits = match maker.val {
        Some(_) => Some(outputs::joined(&outputs, &context.data.val, None)?),
        None => None,
    };
    Ok(Outcome {
        reason,
        best,
        learner: maker.learner,
        base_weights: start.base_weights,
        activations: activations.into_iter().collect(),
        logits,
        l2,
        scores: None,
        distillation: None,
        quality: None,
    })
}

/// What a head is made of.
struct Maker<'a> {
    run: &'a TrainRun,
    context: &'a TrainContext,
    reporter: &'a Reporter,
    heartbeat: Heartbeat,
    /// Its network gets each candidate's head.
    learner: Learner,
    train: Features,
    /// None where there are no validation images.
    val: Option<Features>,
    best: Option<Judged>,
    began: Instant,
    seconds_before: f64,
}

/// The best candidate so far, its logits for the validation images, and its penalty.
struct Judged {
    best: Best,
    outputs: Vec<Tensor>,
    l2: Option<f64>,
}

/// A candidate's place among all of them, from 1.
#[derive(Clone, Copy)]
struct Candidate {
    number: u32,
    of: u32,
    l2: Option<f64>,
}

impl Maker<'_> {
    /// Sets tensors of the head by their full names.
    fn set(&self, tensors: &StateDict) {
        without_gradients(|| {
            for (name, tensor) in tensors {
                if let Some(own) = self.learner.network.state().get(name) {
                    own.shallow_clone().copy_(tensor);
                }
            }
        });
    }

    /// Judges the network's head and tells about it; keeps it if it is the best.
    fn judge(&mut self, candidate: Candidate, began: Instant) -> Result<(), Halt> {
        let (train, _) = self
            .train
            .judged(&self.learner, self.context, &mut self.heartbeat)?;
        let (val, outputs) = match &self.val {
            None => (None, Vec::new()),
            Some(val) => {
                let (score, outputs) = val.judged(&self.learner, self.context, &mut self.heartbeat)?;
                (Some(score), outputs)
            }
        };
        let finite = train.loss.is_finite() && val.is_none_or(|val| val.loss.is_finite());
        if !finite {
            return Err(not_finite());
        }
        let metrics = self.metrics(candidate.number, &train, val);
        let is_better = |old: &Judged| best::is_better(&metrics, &old.best.metrics, None);
        let best = self.best.as_ref().is_none_or(is_better);
        self.tell(candidate, &metrics, best, began);
        if best {
            let best = Best::of(&self.learner, metrics);
            self.best = Some(Judged {
                best,
                outputs,
                l2: candidate.l2,
            });
        }
        Ok(())
    }

    fn metrics(&self, epoch: u32, train: &Score, val: Option<Score>) -> ModelMetrics {
        ModelMetrics {
            epoch,
            train_loss: train.mean_loss(),
            train_accuracy: train.accuracy(),
            val_loss: val.map(|score| score.mean_loss()),
            val_accuracy: val.map(|score| score.accuracy()),
            val_map: None,
            train_images: self.context.data.train.len() as u64,
            val_images: self.context.data.val.len() as u64,
            test_images: self.context.data.test as u64,
        }
    }

    fn tell(&self, candidate: Candidate, metrics: &ModelMetrics, best: bool, began: Instant) {
        let Candidate { number, of, l2 } = candidate;
        let event = EpochEvent {
            epoch: number,
            step: number.into(),
            train_loss: metrics.train_loss,
            train_accuracy: Some(metrics.train_accuracy),
            val_loss: metrics.val_loss,
            val_accuracy: metrics.val_accuracy,
            val_map: None,
            lr: None,
            l2,
            alignment_loss: None,
            distillation_loss: None,
            knn_accuracy: None,
            feature_spread: None,
            seconds: began.elapsed().as_secs_f64(),
            data_wait: 0.0,
            best,
        };
        let per_candidate = self.began.elapsed().as_secs_f64() / f64::from(number);
        let progress = Progress {
            epoch: number,
            epochs: of,
            step: number.into(),
            steps: of.into(),
            images_per_second: None,
            eta_seconds: Some(per_candidate * f64::from(of - number)),
            waiting: None,
        };
        self.reporter.send(&WorkerMessage::Epoch { event, progress });
    }

    fn is_out_of_time(&self) -> bool {
        let used = self.seconds_before + self.began.elapsed().as_secs_f64();
        self.run
            .spec
            .max_seconds
            .is_some_and(|limit| used >= limit as f64)
    }

    fn has_result(&self) -> bool {
        self.best.is_some()
    }

    /// Why the work ends early, or at its end.
    fn reason(&self, out_of_time: bool) -> StopReason {
        match out_of_time {
            true => StopReason::Budget,
            false => StopReason::Completed,
        }
    }
}

/// While it lives, libtorch uses one thread for the arithmetic of this one.
pub struct OneThread {
    before: i32,
}

impl OneThread {
    pub fn new(before: u32) -> Self {
        tch::set_num_threads(1);
        Self {
            before: before.max(1) as i32,
        }
    }
}

impl Drop for OneThread {
    fn drop(&mut self) {
        tch::set_num_threads(self.before);
    }
}
