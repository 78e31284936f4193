//! The epoch loop: steps, validation, the best weights, checkpoints, in a straight line.

mod results;

use std::time::{Duration, Instant};

use tch::Tensor;

use super::{
    checkpoints::{
        best::{self, Best},
        checkpoint::{Checkpoint, Position, SavedBest},
        history::{self, ValidationScores},
        start::Start,
        writer::CheckpointWriter,
    },
    context::TrainContext,
    gradients,
    input::{
        feed::{Batches, Feed},
        portion::MicroBatches,
        precompute,
    },
    learner::{Learner, Outcome as Learned},
    optimizer::schedule::Schedule,
    progress::{
        halt::Halt,
        meter::{self, Meter, Score, Step, Sums},
        pulse::Heartbeat,
        remarks,
    },
    setup,
    tasks::outputs,
    transfer::pretraining::quality::Quality,
};
use crate::{
    domain::{
        jobs::{
            adaptation::TargetScore,
            baseline::Baseline,
            distillation::Distillation,
            event::EpochEvent,
            job::{FailureCode, JobError, StopReason},
        },
        metrics::{Logits, multi_label},
        models::model::ModelMetrics,
        spec::{Stage, Task},
    },
    protocol::{TrainRun, UsedActivations, WorkerMessage},
    worker::{
        files::state::StateDict,
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        weights::BaseWeights,
    },
};

/// A run in progress.
pub struct Session<'a> {
    run: &'a TrainRun,
    context: &'a TrainContext,
    dir: RunDir,
    reporter: Reporter,
    learner: Learner,
    schedule: Schedule,
    position: Position,
    meter: Meter,
    history: Vec<ValidationScores>,
    micro_batches: MicroBatches,
    best: Option<Best>,
    /// The outputs of the best weights for the validation images, if computed in this attempt.
    measured: Option<Measured>,
    base_weights: BaseWeights,
    checkpoint_writer: CheckpointWriter,
    heartbeat: Heartbeat,
    activations: Vec<UsedActivations>,
    /// Of `max_seconds`, used before this attempt.
    seconds_before: f64,
    began: Instant,
    /// The training that came before, to compare with, if one did.
    baseline: Option<Baseline>,
    /// Of a pretraining: how good the best weights' features are, if measured in this attempt.
    quality: Option<Quality>,
}

/// Logits of the best weights for the validation images, batch by batch, still on the device.
struct Measured {
    outputs: Vec<Tensor>,
    /// The stages that were frozen at that time.
    frozen: Option<Stage>,
}

/// How an epoch's steps ended.
enum EpochEnd {
    Completed,
    /// `max_seconds` ran out.
    OutOfTime,
}

/// The result of a session.
pub struct Outcome {
    pub reason: StopReason,
    pub best: Best,
    pub learner: Learner,
    pub base_weights: BaseWeights,
    pub activations: Vec<UsedActivations>,
    /// Of the best weights for the validation images; none if there are none.
    pub logits: Option<Logits>,
    /// Penalty of the head, where a solver made it.
    pub l2: Option<f64>,
    /// How it does on the target domain, where there is one.
    pub scores: Option<Scores>,
    /// How it compares with its teachers, where there are any.
    pub distillation: Option<Distillation>,
    /// How good the features are, where a backbone was trained alone.
    pub quality: Option<Quality>,
}

/// How a model does on the target domain.
pub struct Scores {
    /// A model that was not adapted to it, if there was one to compare with.
    pub source_only: Option<TargetScore>,
    pub latest: TargetScore,
}

impl<'a> Session<'a> {
    pub fn new(
        run: &'a TrainRun,
        context: &'a TrainContext,
        dir: &RunDir,
        reporter: &Reporter,
        stop: &StopFlag,
        (learner, start): (Learner, Start),
    ) -> Self {
        let position = start.position;
        let steps_before = match start.baseline {
            Some(_) => context.plan.steps(),
            None => 0,
        };
        Self {
            schedule: Schedule::new(&run.spec, context.plan.steps_per_epoch()),
            meter: Meter::new(
                reporter.clone(),
                &context.plan,
                position.step,
                position.epoch,
                start.sums,
            ),
            history: start.history,
            micro_batches: MicroBatches::new(start.batch_limit, setup::smallest_batch(run)),
            checkpoint_writer: CheckpointWriter::new(dir, reporter, steps_before, context.device.is_cuda()),
            heartbeat: Heartbeat::new(reporter, stop),
            activations: Vec::new(),
            reporter: reporter.clone(),
            best: start.best,
            measured: None,
            base_weights: start.base_weights,
            seconds_before: run.common.seconds_used.max(start.seconds_used),
            began: Instant::now(),
            baseline: start.baseline,
            quality: None,
            run,
            context,
            dir: dir.clone(),
            learner,
            position,
        }
    }

    /// Trains to the end. If the loss or the gradients become infinite or NaN after a useful epoch, or if the time runs out, the best
    /// epoch's weights are the result.
    pub fn train(mut self) -> Result<Outcome, Halt> {
        if self.baseline.is_some() && self.position.step == 0 {
            // An interruption must not cost the training that came before.
            self.save()?;
        }
        let mut feed = self.feed()?;
        let reason = match self.epochs(&mut feed) {
            Err(Halt::Failed(error)) if self.is_worth_keeping(&error) => {
                let epoch = self.best.as_ref().map_or(0, |best| best.metrics.epoch);
                self.reporter.send(&remarks::divergence(&error, epoch));
                StopReason::Diverged
            }
            ended => ended?,
        };
        self.checkpoint_writer.settle()?;
        self.outcome(&feed, reason)
    }

    fn epochs(&mut self, feed: &mut Feed<'a>) -> Result<StopReason, Halt> {
        loop {
            if let Some(reason) = self.end() {
                return Ok(reason);
            }
            let frozen = self.run.spec.last_frozen(self.position.epoch);
            if frozen != self.learner.frozen() {
                self.learner.freeze(frozen);
                let architecture = self.run.spec.backbone.architecture;
                let remark = remarks::what_learns(architecture, frozen, self.position.epoch);
                self.reporter.send(&remark);
                *feed = self.feed()?;
            }
            self.learner.begin_epoch(self.position.epoch);
            match self.steps(feed)? {
                EpochEnd::Completed => {
                    self.finish_epoch(feed)?;
                    // After the last epoch the model itself is written right away.
                    if self.end().is_none() && self.checkpoint_writer.is_worth_it() {
                        self.save()?;
                    }
                }
                EpochEnd::OutOfTime => {
                    if self.best.is_none() {
                        self.finish_epoch(feed)?;
                    }
                    return Ok(StopReason::Budget);
                }
            }
        }
    }

    /// Why no further epoch follows, if so.
    fn end(&self) -> Option<StopReason> {
        let early = self.run.spec.early_stopping.as_ref();
        if self.position.epoch > self.context.plan.epochs {
            Some(StopReason::Completed)
        } else if early.is_some_and(|early| history::is_patience_over(early, &self.history)) {
            Some(StopReason::EarlyStopped)
        } else {
            None
        }
    }

    /// Batches for the currently frozen stages.
    fn feed(&mut self) -> Result<Feed<'a>, Halt> {
        let feed = precompute::feed(
            self.position.epoch,
            self.run,
            self.context,
            &self.dir,
            &self.learner,
            &self.reporter,
            &mut self.heartbeat,
        );
        match feed {
            // Steps of this attempt may not be in any checkpoint yet.
            Err(Halt::Stopped) if self.position.step > 0 => Err(self.save_and_stop()),
            feed => {
                let feed = feed?;
                if let Some(used) = feed.used_activations()
                    && self.activations.iter().all(|earlier| earlier.key != used.key)
                {
                    self.activations.push(used);
                }
                Ok(feed)
            }
        }
    }

    /// Takes the remaining steps of the epoch.
    fn steps(&mut self, feed: &Feed) -> Result<EpochEnd, Halt> {
        let mut batches = feed.training(self.position);
        let order = self.context.plan.order(self.position.epoch);
        let steps = self.context.plan.step_rows().enumerate();
        let last = self.context.plan.steps_per_epoch();
        self.meter.restart_clock();
        let (mut before, mut waited) = (Instant::now(), Duration::ZERO);
        for (_, rows) in steps.skip(self.position.step_in_epoch) {
            if self.heartbeat.is_stopped() {
                return Err(self.save_and_stop());
            }
            if self.is_out_of_time() && (self.position.step_in_epoch > 0 || self.best.is_some()) {
                return Ok(EpochEnd::OutOfTime);
            }
            let lr = self.schedule.lr(self.position.step, &self.history);
            let outcome = self.gradients(&mut batches, &order[rows.clone()])?;
            if self.position.step_in_epoch + 1 == last {
                feed.look_ahead(self.validates(), self.next_epoch());
            }
            let norm = self.learner.step(lr, self.position.step);
            self.position.step += 1;
            self.position.step_in_epoch += 1;
            self.mark_best_outdated();
            let step = Step {
                outcome,
                images: rows.len() as u64,
                norm,
                lr,
            };
            self.meter.count(step, self.position.step_in_epoch == last)?;
            self.meter.add_time(before.elapsed(), batches.waited() - waited);
            if self.checkpoint_writer.is_due() {
                self.save()?;
            }
            (before, waited) = (Instant::now(), batches.waited());
        }
        Ok(EpochEnd::Completed)
    }

    /// Where the epoch after this one begins, if it is to be trained from the same images.
    fn next_epoch(&self) -> Option<Position> {
        let epoch = self.position.epoch + 1;
        let is_alike = self.run.spec.last_frozen(epoch) == self.learner.frozen();
        (epoch <= self.context.plan.epochs && is_alike).then_some(Position {
            epoch,
            step_in_epoch: 0,
            ..self.position
        })
    }

    /// Accumulates the gradients of a step's images, given by their indices among the training images.
    fn gradients(&mut self, batches: &mut Batches, places: &[usize]) -> Result<Learned, Halt> {
        let limit = self.micro_batches.limit();
        let outcome = gradients::accumulate(
            &mut self.learner,
            &mut self.micro_batches,
            &self.context.data,
            batches,
            places,
            self.position.step,
        )?;
        if self.micro_batches.limit() < limit {
            let (whole, step) = (self.context.plan.batch_size, self.position.step + 1);
            self.reporter
                .send(&remarks::halving(whole, self.micro_batches.limit(), step));
        }
        Ok(outcome)
    }

    /// Validates, reports, and keeps the weights if they are the best.
    fn finish_epoch(&mut self, feed: &Feed) -> Result<(), Halt> {
        let began = Instant::now();
        let (val, outputs) = self.validate(feed)?.unzip();
        let sums = self.meter.flushed()?.clone();
        let val_map = self.mean_average_precision(outputs.as_deref())?;
        let metrics = ModelMetrics {
            val_map,
            ..self.metrics(&sums, val)
        };
        let quality = self.quality_if_due(feed)?;
        let old = self.best.as_ref().map(|best| &best.metrics);
        let monitor = self.run.spec.early_stopping.as_ref().map(|early| early.monitor);
        // Labelled images of the source cannot tell which epoch is the best one for the target.
        let is_last_best = self.aligns() || self.run.pretraining.is_some();
        let best = is_last_best || old.is_none_or(|old| best::is_better(&metrics, old, monitor));
        let second = sums.second.map(|sum| sum / sums.images.max(1) as f64);
        let [alignment_loss, distillation_loss] = meter::told_second(self.context.plan.is_taught, second);
        let event = EpochEvent {
            epoch: metrics.epoch,
            step: self.position.step,
            train_loss: metrics.train_loss,
            // Of a pretraining nothing is right or wrong.
            train_accuracy: self.run.pretraining.is_none().then_some(metrics.train_accuracy),
            val_loss: metrics.val_loss,
            val_accuracy: metrics.val_accuracy,
            val_map: metrics.val_map,
            lr: Some(
                self.schedule
                    .lr(self.position.step.saturating_sub(1), &self.history),
            ),
            l2: None,
            alignment_loss,
            distillation_loss,
            knn_accuracy: quality.and_then(|quality| quality.knn_accuracy),
            feature_spread: quality.map(|quality| quality.spread),
            seconds: sums.seconds + began.elapsed().as_secs_f64(),
            data_wait: sums.waited / sums.seconds.max(f64::MIN_POSITIVE),
            best,
        };
        let progress = self.meter.progress();
        self.reporter.send(&WorkerMessage::Epoch { event, progress });
        self.history.push(ValidationScores {
            val_loss: metrics.val_loss,
            val_accuracy: metrics.val_accuracy,
        });
        if best {
            self.best = Some(Best::of(&self.learner, metrics));
            self.quality = quality;
            self.measured = outputs.map(|outputs| Measured {
                outputs,
                frozen: self.learner.frozen(),
            });
        }
        self.position.epoch += 1;
        self.position.step_in_epoch = 0;
        self.meter.begin_epoch(self.position.epoch);
        Ok(())
    }

    fn validates(&self) -> bool {
        !self.context.data.val.is_empty() && self.run.pretraining.is_none()
    }

    /// Loss and hits on the validation images, and the logits of each batch; none if there are none, or no labels take part.
    fn validate(&mut self, feed: &Feed) -> Result<Option<(Score, Vec<Tensor>)>, Halt> {
        if !self.validates() {
            if !self.learner.is_finite() {
                return Err(meter::diverged("loss", self.position.step, self.position.epoch));
            }
            return Ok(None);
        }
        let (mut outcomes, judge) = (Vec::new(), &self.learner);
        let outputs = outputs::of_validation(&self.learner, feed, &mut self.heartbeat, |batch, logits| {
            outcomes.push((judge.evaluated(logits, &batch.labels.own), batch.images));
        });
        let outputs = self.save_if_stopped(outputs)?;
        let score: Score = Score::read(&outcomes).into_iter().sum();
        if !score.loss.is_finite() {
            return Err(meter::diverged("loss", self.position.step, self.position.epoch));
        }
        Ok(Some((score, outputs)))
    }

    /// Of these outputs for the validation images; none where each class is not a question of its own.
    fn mean_average_precision(&self, outputs: Option<&[Tensor]>) -> Result<Option<f64>, Halt> {
        let data = &self.context.data;
        match (outputs, &data.label_sets) {
            (Some(outputs), Some(_)) if self.run.spec.task == Task::MultiLabel => {
                let logits = outputs::joined(outputs, &data.val, data.label_sets.as_ref())?;
                Ok(multi_label::mean_average_precision(&logits))
            }
            _ => Ok(None),
        }
    }

    /// Whether images of a target domain take part in the training.
    fn aligns(&self) -> bool {
        let adaptation = self.run.spec.domain_adaptation.as_ref();
        adaptation.is_some_and(|adaptation| adaptation.method.has_loss())
    }

    fn metrics(&self, sums: &Sums, val: Option<Score>) -> ModelMetrics {
        let images = sums.images.max(1) as f64;
        ModelMetrics {
            epoch: self.position.epoch,
            train_loss: sums.loss / images,
            train_accuracy: sums.correct as f64 / images,
            val_loss: val.map(|score| score.mean_loss()),
            val_accuracy: val.map(|score| score.accuracy()),
            val_map: None,
            train_images: self.context.data.train.len() as u64,
            val_images: self.context.data.val.len() as u64,
            test_images: self.context.data.test as u64,
        }
    }

    /// Whether there is a useful model despite this failure. Of a backbone alone, nothing says so.
    fn is_worth_keeping(&self, error: &JobError) -> bool {
        let answers = match self.run.spec.task {
            Task::Single => self.learner.network.outputs().classes,
            // Each class of several labels is one of two answers, and no task has fewer.
            Task::MultiLabel | Task::MultiTask => 2,
        };
        let useful = |best: &Best| best::is_useful(&best.metrics, answers);
        error.code == FailureCode::Diverged && self.best.as_ref().is_some_and(useful)
    }

    fn is_out_of_time(&self) -> bool {
        let limit = self.run.spec.max_seconds;
        limit.is_some_and(|limit| self.seconds_used() >= limit as f64)
    }

    /// Waiting for disk space does not count as the job's time.
    fn seconds_used(&self) -> f64 {
        let working = self.began.elapsed().saturating_sub(self.dir.waited());
        self.seconds_before + working.as_secs_f64()
    }

    fn mark_best_outdated(&mut self) {
        if let Some(best) = &mut self.best {
            best.is_current = false;
        }
    }

    fn save_if_stopped<T>(&mut self, result: Result<T, Halt>) -> Result<T, Halt> {
        match result {
            Err(Halt::Stopped) => Err(self.save_and_stop()),
            result => result,
        }
    }

    fn save_and_stop(&mut self) -> Halt {
        let saved = self
            .checkpoint()
            .and_then(|state| self.checkpoint_writer.write_now(&state));
        saved.err().unwrap_or(Halt::Stopped)
    }

    fn save(&mut self) -> Result<(), Halt> {
        let checkpoint = self.checkpoint()?;
        self.checkpoint_writer.write(checkpoint)
    }

    /// The state between two steps. Its tensors are those of the training.
    fn checkpoint(&mut self) -> Result<Checkpoint, Halt> {
        let best = self.best.as_ref().map(|best| SavedBest {
            metrics: best.metrics.clone(),
            weights: (!best.is_current).then(|| shared(&best.weights)),
        });
        Ok(Checkpoint {
            job: self.context.job.clone(),
            machine: self.context.machine.clone(),
            position: self.position,
            sums: self.meter.flushed()?.clone(),
            history: self.history.clone(),
            base_weights: self.base_weights.clone(),
            seconds_used: self.seconds_used(),
            batch_limit: self.micro_batches.limit(),
            loss_scale: self.learner.loss_scale,
            model: shared(self.learner.network.state()),
            average: self.learner.average_state(),
            optimizer: self.learner.optimizer.state(),
            second: self.learner.state_beside(),
            baseline: self.baseline.clone(),
            best,
        })
    }
}

/// The same tensors, not copies of them.
fn shared(state: &StateDict) -> StateDict {
    state
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect()
}
