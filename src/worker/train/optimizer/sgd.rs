//! Stochastic gradient descent with momentum, as in torch.optim.SGD (Sutskever et al. 2013).

use tch::Tensor;

use crate::domain::spec::OptimizerSpec;

/// The algorithm and its settings.
pub struct Sgd {
    momentum: f64,
    nesterov: bool,
}

impl Sgd {
    pub fn new(spec: &OptimizerSpec) -> Self {
        Self {
            momentum: spec.momentum.unwrap_or_default(),
            nesterov: spec.nesterov,
        }
    }

    pub fn momentum(&self) -> f64 {
        self.momentum
    }

    pub fn is_nesterov(&self) -> bool {
        self.nesterov
    }

    /// Updates a parameter; returns the momentum buffer for the next step (same shape and memory layout as the parameter; none before the
    /// first step). Consumes the gradient, whose memory becomes the new buffer where possible. `addcmul` does in one pass over memory what
    /// multiplying and adding would do in two.
    pub fn step(
        &self,
        parameter: &mut Tensor,
        mut gradient: Tensor,
        rate: f64,
        weight_decay: f64,
        mean: Option<Tensor>,
    ) -> Option<Tensor> {
        let device = parameter.device();
        let scalar = |value: f64| Tensor::from(value as f32).to_device(device);
        if weight_decay != 0.0 {
            let _ = gradient.addcmul_(&*parameter, &scalar(weight_decay));
        }
        let rate = scalar(-rate);
        if self.momentum == 0.0 {
            let _ = parameter.addcmul_(&gradient, &rate);
            return None;
        }
        let factor = scalar(self.momentum);
        if self.nesterov {
            let mean = match mean {
                None => gradient.copy(),
                Some(mean) => (mean * self.momentum).g_add_(&gradient),
            };
            let _ = gradient.addcmul_(&mean, &factor);
            let _ = parameter.addcmul_(&gradient, &rate);
            Some(mean)
        } else {
            if let Some(mean) = mean {
                let _ = gradient.addcmul_(&mean, &factor);
            }
            let _ = parameter.addcmul_(&gradient, &rate);
            Some(gradient)
        }
    }
}
