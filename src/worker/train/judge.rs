//! The network that is judged, while it stays as it is: for all batches of a validation.

use std::cell::OnceCell;

use tch::Tensor;

use super::learner::Learner;
use crate::worker::{
    fault::{self, TorchFault},
    nets::{Network, eval::EvalStages, layers::Mode},
};

pub struct Judge<'a> {
    learner: &'a Learner,
    network: &'a Network,
    /// The stages that are not frozen, once the size of what they get is known.
    stages: OnceCell<Option<EvalStages>>,
}

impl<'a> Judge<'a> {
    /// Of a learner's average where it has one, else of what it trains.
    pub(super) fn new(learner: &'a Learner, network: &'a Network) -> Self {
        Self {
            learner,
            network,
            stages: OnceCell::new(),
        }
    }

    /// Logits of one batch of boundary activations, `[N, classes]`.
    pub fn outputs(&self, boundary: &Tensor) -> Result<Tensor, TorchFault> {
        let (frozen, last) = (self.learner.frozen(), self.network.architecture().last_stage());
        if frozen == Some(last) {
            return self.learner.in_portions(boundary, |part| self.network.head(part));
        }
        let stages = match self.stages.get() {
            Some(stages) => stages,
            None => {
                let size = self.learner.whole_batch(boundary);
                let stages = fault::caught(|| EvalStages::of(self.network, frozen, last, size))?;
                self.stages.get_or_init(|| stages)
            }
        };
        self.learner.in_portions(boundary, |part| {
            let features = match stages {
                Some(stages) => stages.forward(part),
                None => self.network.stages(part, frozen, last, Mode::Eval),
            };
            self.network.head(&features)
        })
    }
}
