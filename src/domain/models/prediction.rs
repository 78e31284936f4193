//! A model's prediction for one image.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A class and its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassProbability {
    pub label: String,
    pub index: u32,
    /// 0 to 1; the probabilities of all classes sum to 1, except of a model of several labels; of a model of several tasks, those of each task.
    pub probability: f64,
    /// Only of a model of several labels: whether the probability reaches the threshold of the class, so that the image counts as showing it. Of
    /// a model of several tasks: whether the class is the likeliest of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<bool>,
}

/// Timing of a prediction, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PredictionTiming {
    /// Waiting for a place in a batch.
    pub queue: f64,
    /// Decoding, rotating, resizing and cropping the image.
    pub decode: f64,
    /// The network, for the whole batch that included this image.
    pub forward: f64,
}
