//! The epoch loop: steps, validation, the best weights, checkpoints, in one straight line.

use std::time::{Duration, Instant};

use super::{
    best::{self, Best},
    checkpoint::{Checkpoint, Position, SavedBest},
    feed::Feed,
    halt::Halt,
    keeper::Keeper,
    learner::Learner,
    meter::{self, Meter, Score, Sums},
    outputs,
    pulse::Pulse,
    setup::Ground,
};
use crate::{
    domain::{event::EpochEvent, job::StopReason, metrics::Logits, model::ModelMetrics},
    protocol::{TrainRun, UsedActivations, WorkerMessage},
    worker::{
        child::{Reporter, RunDir, StopFlag},
        state::StateDict,
    },
};

/// Where a session begins.
pub struct Start {
    pub position: Position,
    pub sums: Sums,
    pub best: Option<Best>,
    pub base_weights: String,
    /// Of `max_seconds`, as a checkpoint knows it.
    pub seconds_used: f64,
}

impl Start {
    pub fn at_the_beginning(base_weights: String) -> Self {
        Self {
            position: Position::START,
            sums: Sums::default(),
            best: None,
            base_weights,
            seconds_used: 0.0,
        }
    }
}

/// A run under way.
pub struct Session<'a> {
    run: &'a TrainRun,
    ground: &'a Ground,
    dir: RunDir,
    reporter: Reporter,
    learner: Learner,
    position: Position,
    meter: Meter,
    best: Option<Best>,
    base_weights: String,
    keeper: Keeper,
    pulse: Pulse,
    /// Of `max_seconds`, before this attempt.
    seconds_before: f64,
    began: Instant,
}

/// How an epoch's steps ended.
enum Pass {
    Whole,
    /// `max_seconds` are over.
    OutOfTime,
}

/// What a session leaves.
pub struct Outcome {
    pub reason: StopReason,
    pub best: Best,
    pub learner: Learner,
    pub base_weights: String,
    pub activations: Option<UsedActivations>,
    /// Of the best weights for the validation images; none where there are none.
    pub logits: Option<Logits>,
}

impl<'a> Session<'a> {
    pub fn new(
        run: &'a TrainRun,
        ground: &'a Ground,
        dir: &RunDir,
        reporter: &Reporter,
        stop: &StopFlag,
        (learner, start): (Learner, Start),
    ) -> Self {
        let (position, lr) = (start.position, run.spec.optimizer.lr);
        Self {
            meter: Meter::new(
                reporter.clone(),
                &ground.plan,
                lr,
                position.step,
                position.epoch,
                start.sums,
            ),
            keeper: Keeper::new(dir, reporter),
            pulse: Pulse::new(reporter, stop),
            reporter: reporter.clone(),
            best: start.best,
            base_weights: start.base_weights,
            seconds_before: run.seconds_used.max(start.seconds_used),
            began: Instant::now(),
            run,
            ground,
            dir: dir.clone(),
            learner,
            position,
        }
    }

    /// Trains to the end.
    pub fn train(mut self) -> Result<Outcome, Halt> {
        let feed = Feed::new(
            self.run,
            self.ground,
            &self.dir,
            &self.learner,
            &self.reporter,
            &mut self.pulse,
        )?;
        let mut reason = StopReason::Completed;
        while self.position.epoch <= self.ground.plan.epochs {
            match self.steps(&feed)? {
                Pass::Whole => {
                    self.close_epoch(&feed)?;
                    // After the last epoch the model itself follows at once.
                    if self.position.epoch <= self.ground.plan.epochs && self.keeper.is_worth_it() {
                        self.save()?;
                    }
                }
                Pass::OutOfTime => {
                    if self.best.is_none() {
                        self.close_epoch(&feed)?;
                    }
                    reason = StopReason::Budget;
                    break;
                }
            }
        }
        let logits = self.measure_best(&feed)?;
        let best = self
            .best
            .ok_or_else(|| anyhow::anyhow!("training ended before its first epoch"))?;
        Ok(Outcome {
            reason,
            best,
            activations: feed.used_activations(),
            learner: self.learner,
            base_weights: self.base_weights,
            logits,
        })
    }

    /// Takes the steps of the epoch that are left.
    fn steps(&mut self, feed: &Feed) -> Result<Pass, Halt> {
        let mut batches = feed.training(self.position);
        let steps = self.ground.plan.steps_per_epoch();
        self.meter.restart_clock();
        let (mut before, mut waited) = (Instant::now(), Duration::ZERO);
        while let Some(batch) = batches.next(&self.learner)? {
            if self.pulse.is_stopped() {
                return Err(self.save_and_stop());
            }
            if self.is_out_of_time() && (self.position.step_in_epoch > 0 || self.best.is_some()) {
                return Ok(Pass::OutOfTime);
            }
            let lr = self.run.spec.optimizer.lr;
            let outcome = self.learner.step(&batch.boundary, &batch.labels, lr);
            self.position.step += 1;
            self.position.step_in_epoch += 1;
            self.mark_best_as_past();
            self.meter
                .count(outcome, batch.images, self.position.step_in_epoch == steps)?;
            self.meter.add_time(before.elapsed(), batches.waited() - waited);
            if self.keeper.is_due() {
                self.save()?;
            }
            (before, waited) = (Instant::now(), batches.waited());
        }
        Ok(Pass::Whole)
    }

    /// Validates, tells, and keeps the weights where they are the best.
    fn close_epoch(&mut self, feed: &Feed) -> Result<(), Halt> {
        let began = Instant::now();
        let val = self.validate(feed)?;
        let sums = self.meter.settled()?.clone();
        let metrics = self.metrics(&sums, val);
        let old = self.best.as_ref().map(|best| &best.metrics);
        let best = old.is_none_or(|old| best::is_better(&metrics, old));
        let event = EpochEvent {
            epoch: metrics.epoch,
            step: self.position.step,
            train_loss: metrics.train_loss,
            train_accuracy: metrics.train_accuracy,
            val_loss: metrics.val_loss,
            val_accuracy: metrics.val_accuracy,
            lr: self.run.spec.optimizer.lr,
            seconds: sums.seconds + began.elapsed().as_secs_f64(),
            data_wait: sums.waited / sums.seconds.max(f64::MIN_POSITIVE),
            best,
        };
        let progress = self.meter.progress();
        self.reporter.send(&WorkerMessage::Epoch { event, progress });
        if best {
            self.best = Some(Best::of(&self.learner, metrics));
        }
        self.position.epoch += 1;
        self.position.step_in_epoch = 0;
        self.meter.begin_epoch(self.position.epoch);
        Ok(())
    }

    /// Loss and hits on the validation images; none where there are none.
    fn validate(&mut self, feed: &Feed) -> Result<Option<Score>, Halt> {
        if self.ground.data.val.is_empty() {
            if !self.learner.is_finite() {
                return Err(meter::diverged(self.position.step, self.position.epoch));
            }
            return Ok(None);
        }
        let mut batches = feed.validation();
        let mut outcomes = Vec::new();
        while let Some(batch) = batches.next(&self.learner)? {
            if self.pulse.is_stopped() {
                return Err(self.save_and_stop());
            }
            let outcome = self.learner.judge(&batch.boundary, &batch.labels);
            outcomes.push((outcome, batch.images));
            self.pulse.tell();
        }
        let score: Score = Score::read(&outcomes).into_iter().sum();
        if !score.loss.is_finite() {
            return Err(meter::diverged(self.position.step, self.position.epoch));
        }
        Ok(Some(score))
    }

    /// Outputs of the best weights for the validation images, in their order; none where there are none.
    fn measure_best(&mut self, feed: &Feed) -> Result<Option<Logits>, Halt> {
        let Some(best) = self.best.as_ref().filter(|_| !self.ground.data.val.is_empty()) else {
            return Ok(None);
        };
        let latest = (!best.is_current).then(|| self.learner.changing());
        if latest.is_some() {
            self.learner.take_back(&best.weights);
        }
        let measured = outputs::of_validation(&self.learner, feed, &self.ground.data, &mut self.pulse);
        if let Some(latest) = latest {
            self.learner.take_back(&latest);
        }
        match measured {
            Err(Halt::Stopped) => Err(self.save_and_stop()),
            measured => measured.map(Some),
        }
    }

    fn metrics(&self, sums: &Sums, val: Option<Score>) -> ModelMetrics {
        let images = sums.images.max(1) as f64;
        ModelMetrics {
            epoch: self.position.epoch,
            train_loss: sums.loss / images,
            train_accuracy: sums.correct as f64 / images,
            val_loss: val.map(|score| score.mean_loss()),
            val_accuracy: val.map(|score| score.accuracy()),
            train_images: self.ground.data.train.len() as u64,
            val_images: self.ground.data.val.len() as u64,
        }
    }

    fn is_out_of_time(&self) -> bool {
        let limit = self.run.spec.max_seconds;
        limit.is_some_and(|limit| self.seconds_used() >= limit as f64)
    }

    fn seconds_used(&self) -> f64 {
        self.seconds_before + self.began.elapsed().as_secs_f64()
    }

    fn mark_best_as_past(&mut self) {
        if let Some(best) = &mut self.best {
            best.is_current = false;
        }
    }

    fn save_and_stop(&mut self) -> Halt {
        match self.save() {
            Ok(()) => Halt::Stopped,
            Err(halt) => halt,
        }
    }

    fn save(&mut self) -> Result<(), Halt> {
        let best = self.best.as_ref().map(|best| SavedBest {
            metrics: best.metrics.clone(),
            weights: (!best.is_current).then(|| shared(&best.weights)),
        });
        let checkpoint = Checkpoint {
            job: self.ground.job.clone(),
            machine: self.ground.machine.clone(),
            position: self.position,
            sums: self.meter.settled()?.clone(),
            base_weights: self.base_weights.clone(),
            seconds_used: self.seconds_used(),
            model: shared(self.learner.network.state()),
            optimizer: self.learner.optimizer.state(),
            best,
        };
        self.keeper.write(&checkpoint)
    }
}

/// The same tensors, not copies of them.
fn shared(state: &StateDict) -> StateDict {
    state
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect()
}
