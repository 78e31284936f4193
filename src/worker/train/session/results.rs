//! After the last epoch: what the best weights are worth, on validation images, on a target domain, beside teachers, or as features alone.

use tch::Tensor;

use super::{Outcome, Scores, Session};
use crate::{
    domain::{
        jobs::{adaptation::TargetScore, distillation::Distillation, job::StopReason},
        metrics::Logits,
    },
    protocol::WorkerMessage,
    worker::train::{
        checkpoints::best,
        input::feed::Feed,
        progress::{halt::Halt, remarks},
        tasks::outputs,
        transfer::{
            adapt::{score, statistics},
            distill::report,
            pretraining::quality::{self, Quality},
        },
    },
};

/// How often the features of a pretraining are measured, about: it takes a pass through the network without gradients.
const MEASUREMENTS: u32 = 20;

impl Session<'_> {
    /// Ends the session.
    pub(super) fn outcome(mut self, feed: &Feed, reason: StopReason) -> Result<Outcome, Halt> {
        let mut source_only = self.baseline.as_ref().and_then(|baseline| baseline.score.clone());
        if self.run.spec.domain_adaptation.is_some() && !self.aligns() {
            // Up to here it was a training like any other.
            source_only = self.score(feed, false)?;
        }
        let has_other_statistics = self.adopts_statistics();
        if has_other_statistics {
            self.adopt_statistics(feed)?;
        }
        let logits = self.measure_best(feed)?;
        if let (true, Some(logits), Some(best)) = (has_other_statistics, &logits, &mut self.best) {
            // Not those of the epoch any more.
            best.metrics = best::with_outputs(&best.metrics, logits);
        }
        let is_adapted = self.run.spec.domain_adaptation.is_some();
        let latest = self.score(feed, is_adapted)?;
        if let (true, Some(latest)) = (is_adapted, &latest) {
            let message = format!("with adaptation {}", score::about(latest));
            self.reporter.send(&WorkerMessage::log(message));
        }
        let distillation = self.compare_with_teachers(feed, logits.as_ref())?;
        let quality = self.final_quality(feed)?;
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
            quality,
        })
    }

    /// How good the features are of a backbone that is trained alone, in epochs after which that is measured.
    pub(super) fn quality_if_due(&mut self, feed: &Feed) -> Result<Option<Quality>, Halt> {
        let (epoch, epochs) = (self.position.epoch, self.context.plan.epochs);
        let is_due = epoch == 1 || epoch == epochs || epoch.is_multiple_of(epochs.div_ceil(MEASUREMENTS));
        if self.run.pretraining.is_none() || !is_due {
            return Ok(None);
        }
        let quality = self.measured_quality(feed)?;
        if quality.is_collapsed() {
            self.reporter.send(&remarks::collapse(epoch, quality.spread));
        }
        Ok(Some(quality))
    }

    /// The same of the best weights, at the end.
    fn final_quality(&mut self, feed: &Feed) -> Result<Option<Quality>, Halt> {
        let Some(best) = self.best.as_ref().filter(|_| self.run.pretraining.is_some()) else {
            return Ok(None);
        };
        match self.quality {
            Some(quality) => Ok(Some(quality)),
            None => {
                let is_current = best.is_current;
                self.with_best(is_current, |session| session.measured_quality(feed))
                    .map(Some)
            }
        }
    }

    fn measured_quality(&mut self, feed: &Feed) -> Result<Quality, Halt> {
        let has_labels = self.context.data.images.iter().all(|image| image.class.is_some());
        let quality = quality::measure(&self.learner, self.context, feed, has_labels, &mut self.heartbeat);
        self.save_if_stopped(quality)
    }

    /// Outputs of the best weights for the validation images, in their order; none if there are none.
    fn measure_best(&mut self, feed: &Feed) -> Result<Option<Logits>, Halt> {
        let has_labels = !self.context.data.val.is_empty() && self.run.pretraining.is_none();
        let Some(best) = self.best.as_ref().filter(|_| has_labels) else {
            return Ok(None);
        };
        // Other frozen stages mean other batches and so different rounding, that of an attempt which has to compute the outputs again.
        let frozen = self.learner.frozen();
        if let Some(measured) = self.measured.take().filter(|measured| measured.frozen == frozen) {
            return self.joined(&measured.outputs).map(Some);
        }
        let is_current = best.is_current;
        let outputs = self.with_best(is_current, |session| {
            outputs::of_validation(&session.learner, feed, &mut session.heartbeat, |_, _| {})
        })?;
        self.joined(&outputs).map(Some)
    }

    fn joined(&self, outputs: &[Tensor]) -> Result<Logits, Halt> {
        let data = &self.context.data;
        outputs::joined(outputs, &data.val, data.label_sets.as_ref())
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
}
