//! The loss that brings the features of two domains together, and what of it learns.

use tch::{Device, Tensor};

use super::losses;
use crate::{
    domain::spec::{AdaptationMethod, DomainAdaptation, JobSpec},
    worker::{
        nets::{Network, perceptron::Perceptron, vectors},
        train::transfer::term::Term,
    },
};

/// Name of the classifier of the domain, and so of its tensors.
const CLASSIFIER: &str = "domain_classifier";
/// Width of its hidden layers.
const HIDDEN: u64 = 256;
/// How fast the strength of the reversed gradient grows (Ganin et al. 2016, section 5.2.2: gamma).
const GROWTH: f64 = 10.0;

/// The alignment of a training.
pub struct Alignment {
    adaptation: DomainAdaptation,
    weight: f64,
    /// Of `dann`.
    pub classifier: Option<Perceptron>,
    /// Steps before it begins, and those with it.
    first_step: u64,
    steps: u64,
}

impl Alignment {
    /// None where no loss aligns the domains. `steps_per_epoch` is at least 1.
    pub fn new(spec: &JobSpec, network: &Network, steps_per_epoch: usize, device: Device) -> Option<Self> {
        let adaptation = spec.domain_adaptation.clone()?;
        let weight = adaptation.weight?;
        let per_epoch = steps_per_epoch.max(1) as u64;
        let warmup = u64::from(adaptation.warmup_epochs.unwrap_or(0));
        let classifier = || {
            let features = network.architecture().design().features();
            Perceptron::drawn(CLASSIFIER, &[features, HIDDEN, HIDDEN, 1], spec.seed, device)
        };
        Some(Self {
            weight,
            classifier: (adaptation.method == AdaptationMethod::Dann).then(classifier),
            first_step: warmup * per_epoch,
            steps: (u64::from(spec.epochs).saturating_sub(warmup) * per_epoch).max(1),
            adaptation,
        })
    }

    /// Whether it takes part in this epoch (from 1).
    pub fn is_on(&self, epoch: u32) -> bool {
        self.adaptation.aligns_in(epoch)
    }

    /// The alignment of the features of N and M images at a step (from 0).
    pub fn of(&self, source: &Tensor, target: &Tensor, step: u64) -> Term {
        let [source, target] = [source, target].map(vectors);
        let (source, target) = (&source, &target);
        let Some(classifier) = &self.classifier else {
            let loss = match self.adaptation.method {
                AdaptationMethod::Coral => losses::coral(source, target),
                _ => losses::mmd(source, target),
            };
            return Term {
                told: loss.detach(),
                added: loss * self.weight,
            };
        };
        // The classifier learns at full strength from the beginning; only what the features get of it is weighted.
        let strength = self.weight * self.growth(step);
        let logits = |features| classifier.forward(&losses::reversed(features, strength));
        let loss = losses::domain_cross_entropy(&logits(source), &logits(target));
        Term {
            told: loss.detach(),
            added: loss,
        }
    }

    /// From 0 at the first step to almost 1 at the last: features of a network that knows nothing yet would mislead the classifier, and the
    /// classifier them.
    fn growth(&self, step: u64) -> f64 {
        let progress = step.saturating_sub(self.first_step) as f64 / self.steps as f64;
        2.0 / (1.0 + (-GROWTH * progress).exp()) - 1.0
    }
}
