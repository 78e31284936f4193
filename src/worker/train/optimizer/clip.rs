//! Gradient clipping: gradients are scaled down together if their norm is too large, as in torch.nn.utils.clip_grad_norm_ (Pascanu et al.
//! 2013, "On the difficulty of training recurrent neural networks"). Nothing here waits for the device.

use tch::{Kind, Tensor};

/// The Euclidean norm over all gradients, a scalar; NaN if one of them is.
pub fn norm<'a>(gradients: impl Iterator<Item = &'a Tensor>) -> Tensor {
    let norms: Vec<_> = gradients.map(Tensor::norm).collect();
    match norms.as_slice() {
        [] => Tensor::from(0.0f32),
        norms => Tensor::stack(norms, 0).norm(),
    }
}

/// Scales gradients with this norm down to `max_norm` if it is larger.
pub fn scale<'a>(gradients: impl Iterator<Item = &'a mut Tensor>, norm: &Tensor, max_norm: f64) {
    let factor = ((norm + 1e-6).reciprocal() * max_norm)
        .clamp_max(1.0)
        .to_kind(Kind::Float);
    for gradient in gradients {
        let _ = gradient.g_mul_(&factor);
    }
}
