//! A model's prediction for one image.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A class and its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassProbability {
    pub label: String,
    pub index: u32,
    /// 0 to 1; the probabilities of all classes sum to 1.
    pub probability: f64,
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
