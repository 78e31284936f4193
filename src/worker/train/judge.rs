//! The network in evaluation, fixed for all batches of a validation.

use tch::Tensor;

use super::learner::Learner;
use crate::worker::{
    fault::TorchFault,
    nets::{Network, eval::EvalStages},
};

pub struct Evaluator<'a> {
    learner: &'a Learner,
    network: &'a Network,
    /// The stages that are not frozen; none if all are.
    stages: Option<EvalStages>,
}

impl<'a> Evaluator<'a> {
    /// For a learner's moving average if it has one, else for the network that it trains.
    pub fn new(learner: &'a Learner) -> Self {
        let network = learner.eval_network();
        let (frozen, last) = (learner.frozen(), network.architecture().last_stage());
        Self {
            learner,
            network,
            stages: (frozen != Some(last)).then(|| EvalStages::new(frozen, last)),
        }
    }

    /// Logits of one batch of boundary activations, `[N, classes]`.
    pub fn outputs(&self, boundary: &Tensor) -> Result<Tensor, TorchFault> {
        let Some(stages) = &self.stages else {
            return self
                .learner
                .in_micro_batches(boundary, |part| self.network.head(part));
        };
        let stages = stages.ready(self.network, self.learner.full_batch_size(boundary))?;
        self.learner
            .in_micro_batches(boundary, |part| self.network.head(&stages.forward(part)))
    }
}
