//! A term that is added to the loss of the labels.

use tch::Tensor;

/// Of one micro-batch: a mean over its images.
pub struct Term {
    /// As it is told, without its weight: a scalar without gradient.
    pub told: Tensor,
    /// With its weight: a scalar.
    pub added: Tensor,
}
