//! Gradient clipping: gradients are scaled down together if their norm is too large, as in torch.nn.utils.clip_grad_norm_ (Pascanu et al.
//! 2013, "On the difficulty of training recurrent neural networks"). Nothing here waits for the device.

use tch::{Kind, Tensor};

use super::together;

/// The Euclidean norm over all gradients, a scalar; NaN if one of them is.
pub fn norm<'a>(gradients: impl Iterator<Item = &'a Tensor>) -> Tensor {
    let gradients: Vec<_> = gradients.collect();
    match gradients.as_slice() {
        [] => Tensor::from(0.0f32),
        [first, ..] if together::is_for(first) => together::norm(&gradients),
        gradients => {
            let norms: Vec<_> = gradients.iter().map(|gradient| gradient.norm()).collect();
            Tensor::stack(&norms, 0).norm()
        }
    }
}

/// Scales gradients with this norm down to `max_norm` if it is larger.
pub fn scale(gradients: &mut [&mut Tensor], norm: &Tensor, max_norm: f64) {
    let factor = ((norm + 1e-6).reciprocal() * max_norm)
        .clamp_max(1.0)
        .to_kind(Kind::Float);
    if together::is_for(&factor) {
        return multiply(gradients, &factor);
    }
    for gradient in gradients {
        let _ = gradient.g_mul_(&factor);
    }
}

/// Divides gradients by a power of 2.
pub fn divide(gradients: &mut [&mut Tensor], factor: f64) {
    if let Some(first) = gradients.first()
        && together::is_for(first)
    {
        let factor = Tensor::full([] as [i64; 0], 1.0 / factor, (Kind::Float, first.device()));
        return multiply(gradients, &factor);
    }
    for gradient in gradients {
        let _ = gradient.g_div_scalar_(factor);
    }
}

fn multiply(gradients: &[&mut Tensor], factor: &Tensor) {
    let gradients: Vec<&Tensor> = gradients.iter().map(|gradient| &**gradient).collect();
    together::multiply(&gradients, factor);
}
