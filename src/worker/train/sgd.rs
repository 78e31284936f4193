//! Stochastic gradient descent with momentum, by torch.optim.SGD's rule (Sutskever et al. 2013), over tensors of ours.
//!
//! Ours, because its state has to go into the checkpoint: tch's own optimisers cannot be saved. Called once a step by the learner.

use tch::Tensor;

use crate::{
    domain::spec::OptimizerSpec,
    worker::{nets::Parameter, state::StateDict},
};

/// What the names of saved momentum begin with.
const MOMENTUM: &str = "momentum.";

/// Parameters that learn, and how.
pub struct Sgd {
    momentum: f64,
    nesterov: bool,
    slots: Vec<Slot>,
}

/// A parameter and the running mean of its gradients.
struct Slot {
    name: String,
    parameter: Tensor,
    lr_multiplier: f64,
    weight_decay: f64,
    /// Same shape and memory layout as the parameter; none before the first step.
    momentum: Option<Tensor>,
}

impl Sgd {
    /// Stages learn at `backbone_lr_multiplier` times the head's rate. Weight decay is for convolutions and the head's matrix, that
    /// is, for what has more than one dimension: not for BatchNorm and biases.
    pub fn new(parameters: Vec<Parameter>, spec: &OptimizerSpec) -> Self {
        let slot = |learning: Parameter| Slot {
            lr_multiplier: learning.stage.map_or(1.0, |_| spec.backbone_lr_multiplier),
            weight_decay: if learning.tensor.dim() > 1 {
                spec.weight_decay
            } else {
                0.0
            },
            parameter: learning.tensor.set_requires_grad(true),
            name: learning.name,
            momentum: None,
        };
        Self {
            momentum: spec.momentum,
            nesterov: spec.nesterov,
            slots: parameters.into_iter().map(slot).collect(),
        }
    }

    /// Moves every parameter against the gradient of `loss`, the head at the rate `lr`.
    pub fn step(&mut self, loss: &Tensor, lr: f64) {
        let parameters: Vec<_> = self.slots.iter().map(|slot| &slot.parameter).collect();
        let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
        tch::no_grad(|| {
            for (slot, gradient) in self.slots.iter_mut().zip(gradients) {
                let gradient = laid_out_like(&slot.parameter, gradient);
                slot.step(gradient, lr, self.momentum, self.nesterov);
            }
        });
    }

    /// What the next step depends on, by name. The tensors share their memory with the optimiser.
    pub fn state(&self) -> StateDict {
        let named = |slot: &Slot| {
            let momentum = slot.momentum.as_ref()?.shallow_clone();
            Some((format!("{MOMENTUM}{}", slot.name), momentum))
        };
        self.slots.iter().filter_map(named).collect()
    }

    /// Takes back what [`Sgd::state`] gave.
    ///
    /// # Errors
    /// The name of a tensor whose shape does not fit.
    pub fn restore(&mut self, state: &StateDict) -> Result<(), String> {
        for slot in &mut self.slots {
            let name = format!("{MOMENTUM}{}", slot.name);
            slot.momentum = match state.get(&name) {
                None => None,
                Some(saved) if saved.size() != slot.parameter.size() => return Err(name),
                Some(saved) => Some(copied_like(&slot.parameter, saved)),
            };
        }
        Ok(())
    }
}

impl Slot {
    /// Consumes the gradient: its memory becomes the new momentum where it can. `addcmul` does in one pass over memory what
    /// multiplying and adding would do in two.
    fn step(&mut self, mut gradient: Tensor, lr: f64, momentum: f64, nesterov: bool) {
        let scalar = |value: f64| Tensor::from(value as f32).to_device(self.parameter.device());
        if self.weight_decay != 0.0 {
            let _ = gradient.addcmul_(&self.parameter, &scalar(self.weight_decay));
        }
        let rate = scalar(-lr * self.lr_multiplier);
        if momentum == 0.0 {
            let _ = self.parameter.addcmul_(&gradient, &rate);
            return;
        }
        let factor = scalar(momentum);
        if nesterov {
            let mean = match self.momentum.take() {
                None => gradient.copy(),
                Some(mean) => (mean * momentum).g_add_(&gradient),
            };
            let _ = gradient.addcmul_(&mean, &factor);
            let _ = self.parameter.addcmul_(&gradient, &rate);
            self.momentum = Some(mean);
        } else {
            if let Some(mean) = self.momentum.take() {
                let _ = gradient.addcmul_(&mean, &factor);
            }
            let _ = self.parameter.addcmul_(&gradient, &rate);
            self.momentum = Some(gradient);
        }
    }
}

/// Another memory layout would be slower, and might round differently after a resume than before it.
fn laid_out_like(parameter: &Tensor, gradient: Tensor) -> Tensor {
    if gradient.stride() == parameter.stride() {
        gradient
    } else {
        copied_like(parameter, &gradient)
    }
}

fn copied_like(parameter: &Tensor, values: &Tensor) -> Tensor {
    let mut copy = parameter.detach().empty_like();
    copy.copy_(values);
    copy
}
