//! What a model answers of one image.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A class and how sure the model is of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassProbability {
    pub label: String,
    pub index: u32,
    /// 0 to 1; over all classes they sum to 1.
    pub probability: f64,
}

/// Where the time of a prediction went, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PredictionTiming {
    /// Waiting for a place in a batch.
    pub queue: f64,
    /// Reading, turning, resizing, cropping the picture.
    pub decode: f64,
    /// The network, for the whole batch that this picture was in.
    pub forward: f64,
}
