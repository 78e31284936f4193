//! The epoch loop: steps, validation, the best weights, checkpoints, in a straight line.

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
    learner::{self, Learner, Outcome as Learned},
    optimizer::schedule::Schedule,
    progress::{
        halt::Halt,
        meter::{self, Meter, Score, Step, Sums},
        pulse::Heartbeat,
        remarks,
    },
    setup,
    tasks::outputs,
    transfer::{
        adapt::{score, statistics},
        distill::report,
        second::Second,
    },
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
        metrics::Logits,
        models::model::ModelMetrics,
        spec::Stage,
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
            micro_batches: MicroBatches::new(start.batch_limit, setup::smallest_batch(&run.spec)),
            checkpoint_writer: CheckpointWriter::new(dir, reporter, steps_before),
            heartbeat: Heartbeat::new(reporter, stop),
            activations: Vec::new(),
            reporter: reporter.clone(),
            best: start.best,
            measured: None,
            base_weights: start.base_weights,
            seconds_before: run.common.seconds_used.max(start.seconds_used),
            began: Instant::now(),
            baseline: start.baseline,
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
        let mut source_only = self.baseline.as_ref().and_then(|baseline| baseline.score.clone());
        if self.run.spec.domain_adaptation.is_some() && !self.aligns() {
            // Up to here it was a training like any other.
            source_only = self.score(&feed, false)?;
        }
        let has_other_statistics = self.adopts_statistics();
        if has_other_statistics {
            self.adopt_statistics(&feed)?;
        }
        let logits = self.measure_best(&feed)?;
        if let (true, Some(logits), Some(best)) = (has_other_statistics, &logits, &mut self.best) {
            // Not those of the epoch any more.
            best.metrics = best::with_outputs(&best.metrics, logits);
        }
        let is_adapted = self.run.spec.domain_adaptation.is_some();
        let latest = self.score(&feed, is_adapted)?;
        if let (true, Some(latest)) = (is_adapted, &latest) {
            let message = format!("with adaptation {}", score::about(latest));
            self.reporter.send(&WorkerMessage::log(message));
        }
        let distillation = self.compare_with_teachers(&feed, logits.as_ref())?;
        let best = self
            .best
            .ok_or_else(|| anyhow::anyhow!("training ended before its first epoch"))?;
        Ok(Outcome {
            reason,
            best,
            activations: self.activations,
            learner: self.learner,
            base_weights: self.base_weights,
            logits,
            l2: None,
            scores: latest.map(|latest| Scores { source_only, latest }),
            distillation,
        })
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
        let metrics = self.metrics(&sums, val);
        let old = self.best.as_ref().map(|best| &best.metrics);
        let monitor = self.run.spec.early_stopping.as_ref().map(|early| early.monitor);
        // Labelled images of the source cannot tell which epoch is the best one for the target.
        let best = self.aligns() || old.is_none_or(|old| best::is_better(&metrics, old, monitor));
        let second = sums.second.map(|sum| sum / sums.images.max(1) as f64);
        let [alignment_loss, distillation_loss] = meter::told_second(self.context.plan.is_taught, second);
        let event = EpochEvent {
            epoch: metrics.epoch,
            step: self.position.step,
            train_loss: metrics.train_loss,
            train_accuracy: metrics.train_accuracy,
            val_loss: metrics.val_loss,
            val_accuracy: metrics.val_accuracy,
            lr: Some(
                self.schedule
                    .lr(self.position.step.saturating_sub(1), &self.history),
            ),
            l2: None,
            alignment_loss,
            distillation_loss,
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

    /// Loss and hits on the validation images, and the logits of each batch; none if there are none.
    fn validate(&mut self, feed: &Feed) -> Result<Option<(Score, Vec<Tensor>)>, Halt> {
        if self.context.data.val.is_empty() {
            if !self.learner.is_finite() {
                return Err(meter::diverged("loss", self.position.step, self.position.epoch));
            }
            return Ok(None);
        }
        let mut outcomes = Vec::new();
        let outputs = outputs::of_validation(&self.learner, feed, &mut self.heartbeat, |batch, logits| {
            outcomes.push((learner::evaluated(logits, &batch.labels.own), batch.images));
        });
        let outputs = self.save_if_stopped(outputs)?;
        let score: Score = Score::read(&outcomes).into_iter().sum();
        if !score.loss.is_finite() {
            return Err(meter::diverged("loss", self.position.step, self.position.epoch));
        }
        Ok(Some((score, outputs)))
    }

    /// Outputs of the best weights for the validation images, in their order; none if there are none.
    fn measure_best(&mut self, feed: &Feed) -> Result<Option<Logits>, Halt> {
        let Some(best) = self.best.as_ref().filter(|_| !self.context.data.val.is_empty()) else {
            return Ok(None);
        };
        // Other frozen stages mean other batches and so different rounding, that of an attempt which has to compute the outputs again.
        let frozen = self.learner.frozen();
        if let Some(measured) = self.measured.take().filter(|measured| measured.frozen == frozen) {
            return outputs::joined(&measured.outputs, &self.context.data.val).map(Some);
        }
        let is_current = best.is_current;
        let outputs = self.with_best(is_current, |session| {
            outputs::of_validation(&session.learner, feed, &mut session.heartbeat, |_, _| {})
        })?;
        let logits = outputs::joined(&outputs, &self.context.data.val)?;
        Ok(Some(logits))
    }

    /// Works with the best weights, in the network that is evaluated, and puts its own back. If they are its own, nothing is to be done for
    /// that.
    fn with_best<T>(
        &mut self,
        are_its_own: bool,
        work: impl FnOnce(&mut Self) -> Result<T, Halt>,
    ) -> Result<T, Halt> {
        let latest = (!are_its_own).then(|| self.learner.trainable_weights());
        if let (Some(_), Some(best)) = (&latest, &self.best) {
            self.learner.restore_weights(&best.weights);
        }
        let result = work(self);
        if let Some(latest) = latest {
            self.learner.restore_weights(&latest);
        }
        self.save_if_stopped(result)
    }

    /// Whether images of a target domain take part in the training.
    fn aligns(&self) -> bool {
        let adaptation = self.run.spec.domain_adaptation.as_ref();
        adaptation.is_some_and(|adaptation| adaptation.method.has_loss())
    }

    /// Whether BatchNorm's statistics are measured on the target domain after the training. Those of its last steps follow only few images.
    fn adopts_statistics(&self) -> bool {
        let design = self.learner.network.architecture().design();
        self.run.spec.domain_adaptation.is_some() && design.has_statistics_after(self.learner.frozen())
    }

    /// Gives the best weights BatchNorm statistics of the target domain.
    fn adopt_statistics(&mut self, feed: &Feed) -> Result<(), Halt> {
        let (Some(target), Some(target_feed)) = (self.context.unlabelled.as_deref(), feed.unlabelled())
        else {
            return Ok(());
        };
        // They are written over the network's own: these are put back in any case.
        let weights = self.with_best(false, |session| {
            statistics::measure(
                &session.learner,
                &target.context,
                target_feed,
                &mut session.heartbeat,
            )?;
            Ok(session.learner.trainable_weights())
        })?;
        if let Some(best) = &mut self.best {
            (best.weights, best.is_current) = (weights, false);
        }
        self.measured = None;
        Ok(())
    }

    /// How the best weights do on the target domain, if there is one.
    fn score(&mut self, feed: &Feed, is_adapted: bool) -> Result<Option<TargetScore>, Halt> {
        let context = self.context;
        // Images that go along with a distillation are of the same domain.
        let target = context
            .unlabelled
            .as_deref()
            .filter(|_| context.teachers.is_none());
        let Some(target) = target else {
            return Ok(None);
        };
        let is_current = self.best.as_ref().is_none_or(|best| best.is_current);
        self.with_best(is_current, |session| {
            let learner = &session.learner;
            score::of(learner, context, target, feed, is_adapted, &mut session.heartbeat)
        })
    }

    /// What the teachers have brought, if there are any, by these outputs of the best weights for the validation images.
    fn compare_with_teachers(
        &mut self,
        feed: &Feed,
        logits: Option<&Logits>,
    ) -> Result<Option<Distillation>, Halt> {
        let teachers = self
            .context
            .teachers
            .as_deref()
            .filter(|_| self.context.plan.is_taught);
        let (Some(teachers), Some(logits), Some(best)) = (teachers, logits, &self.best) else {
            return Ok(None);
        };
        let student = report::Student {
            learner: &self.learner,
            weights: &best.weights,
            logits,
            side: self.run.spec.image.size,
            alone: self.baseline.as_ref().and_then(|baseline| baseline.accuracy),
        };
        let found = report::of(teachers, &student, self.context, feed, &mut self.heartbeat);
        let found = self.save_if_stopped(found)?;
        self.reporter.send(&WorkerMessage::log(report::about(&found)));
        Ok(Some(found))
    }

    fn metrics(&self, sums: &Sums, val: Option<Score>) -> ModelMetrics {
        let images = sums.images.max(1) as f64;
        ModelMetrics {
            epoch: self.position.epoch,
            train_loss: sums.loss / images,
            train_accuracy: sums.correct as f64 / images,
            val_loss: val.map(|score| score.mean_loss()),
            val_accuracy: val.map(|score| score.accuracy()),
            train_images: self.context.data.train.len() as u64,
            val_images: self.context.data.val.len() as u64,
            test_images: self.context.data.test as u64,
        }
    }

    /// Whether there is a useful model despite this failure.
    fn is_worth_keeping(&self, error: &JobError) -> bool {
        let useful = |best: &Best| best::is_useful(&best.metrics, self.run.common.dataset.classes.len());
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
            second: self
                .learner
                .second
                .as_ref()
                .map(Second::state)
                .unwrap_or_default(),
            baseline: self.baseline.clone(),
            best,
        };
        self.checkpoint_writer.write(&checkpoint)
    }
}

/// The same tensors, not copies of them.
fn shared(state: &StateDict) -> StateDict {
    state
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect()
}
