//! Adam with decoupled weight decay, as in torch.optim.AdamW (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization").

use tch::Tensor;

use crate::domain::spec::OptimizerSpec;

/// The algorithm and its settings.
pub struct AdamW {
    betas: [f64; 2],
    eps: f64,
}

/// Running means of a parameter's gradients; same shape and memory layout as the parameter.
pub struct Moments {
    /// Of the gradients.
    pub mean: Tensor,
    /// Of their squares.
    pub square: Tensor,
    /// Steps that both include. Counted per parameter, because stages may be unfrozen at different times.
    pub steps: u64,
}

impl Moments {
    /// Before the first step of a parameter.
    pub fn before(parameter: &Tensor) -> Self {
        Self {
            mean: parameter.detach().zeros_like(),
            square: parameter.detach().zeros_like(),
            steps: 0,
        }
    }
}

impl AdamW {
    pub fn new(spec: &OptimizerSpec) -> Self {
        Self {
            betas: spec.betas.unwrap_or([0.9, 0.999]),
            eps: spec.eps.unwrap_or(1e-8),
        }
    }

    pub fn betas(&self) -> [f64; 2] {
        self.betas
    }

    pub fn epsilon(&self) -> f64 {
        self.eps
    }

    /// Updates a parameter; returns its moments for the next step.
    pub fn step(
        &self,
        parameter: &mut Tensor,
        gradient: &Tensor,
        rate: f64,
        weight_decay: f64,
        moments: Moments,
    ) -> Moments {
        let Moments {
            mut mean,
            mut square,
            steps,
        } = moments;
        let steps = steps + 1;
        if weight_decay != 0.0 {
            let _ = parameter.g_mul_scalar_(1.0 - rate * weight_decay);
        }
        let _ = mean.lerp_(gradient, 1.0 - self.betas[0]);
        let _ = square.lerp_(&gradient.square(), 1.0 - self.betas[1]);
        // Bias correction: both means start at 0.
        let [mean_share, square_share] = self.betas.map(|beta| 1.0 - beta.powi(steps.min(1 << 30) as i32));
        let mut step = square.sqrt();
        let _ = step.g_div_scalar_(square_share.sqrt());
        let _ = step.g_add_scalar_(self.eps);
        let _ = step.reciprocal_().g_mul_(&mean).g_mul_scalar_(-rate / mean_share);
        let _ = parameter.g_add_(&step);
        Moments { mean, square, steps }
    }
}
