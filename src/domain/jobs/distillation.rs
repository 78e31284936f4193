//! What a distillation has brought: part of a model's evaluation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{id::ModelId, spec::Architecture};

/// What a distillation has brought. Accuracies are fractions of the validation images, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Distillation {
    pub teachers: Vec<NetworkCost>,
    /// Of the mean of the teachers' probabilities, for the images as the student sees them, resized to the teachers' sizes.
    pub teacher_accuracy: f64,
    pub student: NetworkCost,
    pub student_accuracy: f64,
    /// Of the same training without teachers; null where `distill.baseline` was false, or where that training failed.
    pub alone_accuracy: Option<f64>,
}

/// What a network costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkCost {
    /// Null for the student, which becomes a model with this evaluation.
    pub model: Option<ModelId>,
    pub architecture: Architecture,
    /// Side of the square input, in pixels.
    pub image_size: u32,
    pub parameters: u64,
    /// Size of all tensors.
    pub bytes: u64,
    /// Median time of a prediction for one image in milliseconds, in the form that serves, on the device of the job.
    pub latency_ms: f64,
}
