//! Running sums of an epoch and the messages about them, without waiting for the device more often than messages require.
//!
//! Losses stay on the device until the next message, then all are read at once and added one by one in the order of their steps, so that
//! the sums have the same bits however often they were read.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::halt::Halt;
use crate::{
    domain::jobs::{
        event::StepEvent,
        job::{FailureCode, Progress},
    },
    protocol::WorkerMessage,
    worker::{
        process::child::Reporter,
        train::{learner::Outcome, plan::Plan},
    },
};

/// An epoch's sums so far; stored in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Sum of the losses, each times the number of images in its step.
    pub loss: f64,
    pub correct: u64,
    pub images: u64,
    /// Time spent on steps.
    pub seconds: f64,
    /// Of that, time spent waiting for data.
    pub waited: f64,
    /// Sum of the losses of what is learned from besides the labels, each times the number of images in its step; none where no step had
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<f64>,
}

/// Sums of loss and hits over images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    pub loss: f64,
    pub correct: u64,
    pub images: u64,
    /// Of the losses of what is learned from besides the labels; none where there are none.
    pub second: Option<f64>,
}

impl Score {
    /// Reads the outcomes of batches of these sizes from the device, all at once.
    pub fn read(outcomes: &[(Outcome, u64)]) -> Vec<Score> {
        if outcomes.is_empty() {
            return Vec::new();
        }
        let losses = numbers(outcomes.iter().map(|(outcome, _)| &outcome.loss));
        let hits = numbers(outcomes.iter().map(|(outcome, _)| &outcome.correct));
        let mut seconds =
            numbers(outcomes.iter().filter_map(|(outcome, _)| outcome.second.as_ref())).into_iter();
        let scores = losses.into_iter().zip(hits).zip(outcomes);
        scores
            .map(|((loss, correct), (outcome, images))| Score {
                loss: loss * *images as f64,
                correct: correct as u64,
                images: *images,
                second: outcome
                    .second
                    .as_ref()
                    .and_then(|_| seconds.next())
                    .map(|loss| loss * *images as f64),
            })
            .collect()
    }

    pub fn mean_loss(&self) -> f64 {
        self.loss / self.images.max(1) as f64
    }

    pub fn mean_second(&self) -> Option<f64> {
        self.second.map(|sum| sum / self.images.max(1) as f64)
    }

    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }
}

/// Scalars read from the device all at once.
fn numbers<'t>(scalars: impl Iterator<Item = &'t Tensor>) -> Vec<f64> {
    let scalars: Vec<&Tensor> = scalars.collect();
    if scalars.is_empty() {
        return Vec::new();
    }
    Vec::try_from(Tensor::stack(&scalars, 0).to_kind(Kind::Double)).unwrap_or_default()
}

/// Of two sums of which either may not be there.
fn added(sum: Option<f64>, more: Option<f64>) -> Option<f64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    }
}

impl std::iter::Sum for Score {
    fn sum<I: Iterator<Item = Score>>(scores: I) -> Score {
        scores.fold(Score::default(), |sum, score| Score {
            loss: sum.loss + score.loss,
            correct: sum.correct + score.correct,
            images: sum.images + score.images,
            second: added(sum.second, score.second),
        })
    }
}

/// A completed step; the device may still be computing it.
pub struct Step {
    pub outcome: Outcome,
    pub images: u64,
    /// Of the gradients, before clipping; a scalar.
    pub norm: Tensor,
    pub lr: f64,
}

/// Tracks the steps of a run.
pub struct Meter {
    reporter: Reporter,
    epochs: u32,
    steps: u64,
    /// Of the last step.
    lr: f64,
    /// Steps since the job began, over all attempts.
    step: u64,
    epoch: u32,
    sums: Sums,
    /// Outcomes still on the device, of the steps up to `step`, with their numbers of images.
    pending: Vec<(Outcome, u64)>,
    /// The norms of their gradients.
    norms: Vec<Tensor>,
    /// Since the previous step message.
    window: Score,
    window_started: Instant,
    last_message: Option<Instant>,
    started: Instant,
    first_step: u64,
    /// Whether it is teachers that are learned from besides the labels.
    distills: bool,
}

impl Meter {
    /// At most ten step messages a second.
    const INTERVAL: Duration = Duration::from_millis(100);

    /// Starts after `step` steps, in an epoch with these `sums`.
    pub fn new(reporter: Reporter, plan: &Plan, step: u64, epoch: u32, sums: Sums) -> Self {
        let now = Instant::now();
        Self {
            reporter,
            epochs: plan.epochs,
            steps: plan.steps(),
            lr: 0.0,
            step,
            epoch,
            sums,
            pending: Vec::new(),
            norms: Vec::new(),
            window: Score::default(),
            window_started: now,
            last_message: None,
            started: now,
            first_step: step,
            distills: plan.is_taught,
        }
    }

    /// Excludes time that is not training, such as validation, from the speed in the next message.
    pub fn restart_clock(&mut self) {
        self.window_started = Instant::now();
    }

    pub fn begin_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.sums = Sums::default();
        self.restart_clock();
    }

    /// Counts a step; reports it if a message is due, and always if it is the last of its epoch.
    ///
    /// # Errors
    /// `diverged` if a loss or a gradient is not finite.
    pub fn count(&mut self, step: Step, last_of_epoch: bool) -> Result<(), Halt> {
        self.pending.push((step.outcome, step.images));
        self.norms.push(step.norm);
        self.lr = step.lr;
        self.step += 1;
        let due = self
            .last_message
            .is_none_or(|last| last.elapsed() >= Self::INTERVAL);
        if due || last_of_epoch {
            self.flush()?;
            self.report();
        }
        Ok(())
    }

    pub fn add_time(&mut self, spent: Duration, waited: Duration) {
        self.sums.seconds += spent.as_secs_f64();
        self.sums.waited += waited.as_secs_f64();
    }

    /// The epoch's sums, including everything still on the device.
    ///
    /// # Errors
    /// As [`Meter::count`].
    pub fn flushed(&mut self) -> Result<&Sums, Halt> {
        self.flush()?;
        Ok(&self.sums)
    }

    pub fn progress(&self) -> Progress {
        let done = self.step - self.first_step;
        let left = self.steps.saturating_sub(self.step) as f64;
        let eta = (done > 0).then(|| self.started.elapsed().as_secs_f64() / done as f64 * left);
        Progress {
            epoch: self.epoch,
            epochs: self.epochs,
            step: self.step,
            steps: self.steps,
            images_per_second: self.speed(),
            eta_seconds: eta,
            waiting: None,
        }
    }

    /// Images per second since the previous step message, or over the epoch right after one.
    fn speed(&self) -> Option<f64> {
        let (images, seconds) = match self.window.images {
            0 => (self.sums.images, self.sums.seconds),
            images => (images, self.window_started.elapsed().as_secs_f64()),
        };
        (images > 0 && seconds > 0.0).then(|| images as f64 / seconds)
    }

    fn flush(&mut self) -> Result<(), Halt> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let first = self.step - self.pending.len() as u64 + 1;
        let norms = numbers(self.norms.iter());
        for ((step, score), norm) in (first..).zip(Score::read(&self.pending)).zip(norms) {
            if !score.loss.is_finite() {
                return Err(diverged("loss", step, self.epoch));
            }
            if !norm.is_finite() {
                return Err(diverged("gradient", step, self.epoch));
            }
            self.sums.loss += score.loss;
            self.sums.correct += score.correct;
            self.sums.images += score.images;
            self.sums.second = added(self.sums.second, score.second);
            self.window = [self.window, score].into_iter().sum();
        }
        self.pending.clear();
        self.norms.clear();
        Ok(())
    }

    fn report(&mut self) {
        let [alignment_loss, distillation_loss] = told_second(self.distills, self.window.mean_second());
        let event = StepEvent {
            step: self.step,
            epoch: self.epoch,
            train_loss: self.window.mean_loss(),
            lr: self.lr,
            images_per_second: self.speed().unwrap_or_default(),
            alignment_loss,
            distillation_loss,
        };
        let progress = self.progress();
        self.reporter.send(&WorkerMessage::Step { event, progress });
        self.window = Score::default();
        self.restart_clock();
        self.last_message = Some(Instant::now());
    }
}

/// The loss of what is learned from besides the labels, as events tell it: between domains, or from teachers.
pub fn told_second(distills: bool, loss: Option<f64>) -> [Option<f64>; 2] {
    match distills {
        false => [loss, None],
        true => [None, loss],
    }
}

/// The loss or the gradient is infinite or NaN.
pub fn diverged(what: &str, step: u64, epoch: u32) -> Halt {
    Halt::failed(
        FailureCode::Diverged,
        format!(
            "the {what} is no longer finite at step {step} (epoch {epoch}); lower `optimizer.lr`, set `clip_grad_norm`, or freeze \
             more of the network"
        ),
    )
}
