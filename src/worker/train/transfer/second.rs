//! What a step learns from besides the labels: the images of a target domain, or teachers; or instead of them: two views of each image. And
//! what else learns beside the network: the weights of tasks.

use tch::Device;

use super::{adapt::alignment::Alignment, distill::distillation::Distillation, pretraining::Pretraining};
use crate::{
    protocol::TrainRun,
    worker::{
        files::state::StateDict,
        nets::{Network, Parameter, perceptron::Perceptron},
        train::loss::LearnedTaskWeights,
    },
};

/// At most one of them per training.
pub enum Second {
    Alignment(Alignment),
    Distillation(Distillation),
    /// There are no labels.
    Pretraining(Pretraining),
    /// Adds nothing: it is in the loss of the labels.
    TaskWeights(LearnedTaskWeights),
}

impl Second {
    /// None where only the labels count. `teacher_features`: length of the feature vectors of the first teacher, if there is one;
    /// `steps_per_epoch` is at least 1.
    pub fn of(
        run: &TrainRun,
        network: &Network,
        teacher_features: Option<u64>,
        steps_per_epoch: usize,
        device: Device,
    ) -> Option<Self> {
        if let Some(pretraining) = Pretraining::of(run, network, device) {
            return Some(Self::Pretraining(pretraining));
        }
        let spec = &run.spec;
        let alignment = Alignment::new(spec, network, steps_per_epoch, device).map(Self::Alignment);
        alignment.or_else(|| {
            let distillation = Distillation::new(spec, network, teacher_features?, device)?;
            Some(Self::Distillation(distillation))
        })
    }

    /// What learns beside the network in this epoch (from 1).
    pub fn parameters(&self, epoch: u32) -> Vec<Parameter> {
        let is_on = match self {
            Self::Alignment(alignment) => alignment.is_on(epoch),
            Self::Distillation(_) => true,
            Self::Pretraining(pretraining) => return pretraining.parameters(epoch),
            Self::TaskWeights(weights) => return weights.parameters(),
        };
        let own = self.own().filter(|_| is_on);
        own.map_or(Vec::new(), Perceptron::parameters)
    }

    /// What a checkpoint has of it.
    pub fn state(&self) -> StateDict {
        match self {
            Self::Pretraining(pretraining) => return pretraining.state(),
            Self::TaskWeights(weights) => return weights.state(),
            Self::Alignment(_) | Self::Distillation(_) => {}
        }
        let state = self.own().into_iter().flat_map(Perceptron::state);
        state
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect()
    }

    /// Restores the result of [`Second::state`].
    ///
    /// # Errors
    /// The name of a tensor that is missing or of another shape.
    pub fn restore(&self, saved: &StateDict) -> Result<(), String> {
        match self {
            Self::Pretraining(pretraining) => pretraining.restore(saved),
            Self::TaskWeights(weights) => weights.restore(saved),
            _ => self.own().map_or(Ok(()), |own| own.restore(saved)),
        }
    }

    fn own(&self) -> Option<&Perceptron> {
        match self {
            Self::Alignment(alignment) => alignment.classifier.as_ref(),
            Self::Distillation(distillation) => distillation.projection.as_ref(),
            Self::Pretraining(_) | Self::TaskWeights(_) => None,
        }
    }
}
