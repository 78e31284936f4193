//! The output of a batch prediction: a row for each image, as JSON Lines and as CSV, and the counts stored with the job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{datasets::split::Split, id::JobId, models::prediction::ClassProbability};

/// A model's prediction for one image of a dataset: a line of the JSON Lines. It has either `predictions` or `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PredictionRow {
    /// Id of the image in its dataset.
    pub image: u32,
    /// As in the archive.
    pub path: String,
    /// The split that the dataset puts it in, or that was asked for.
    pub split: Split,
    /// The label in the dataset; null where it has no classes.
    pub label: Option<String>,
    /// The labels in the dataset of an image that has several, or none of the classes; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The likeliest classes, likeliest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictions: Option<Vec<ClassProbability>>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RowError>,
}

/// Why an image has no prediction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RowError {
    /// As in a dataset's report, such as `undecodable`, `truncated`, `too_large`; `no_answer` where the network's output was not finite,
    /// `data_damaged` where the file is no longer what was stored.
    pub code: String,
    pub message: String,
}

/// The output of a job of kind `batch-predict`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchPredictions {
    /// Where the rows are: `?format=jsonl` or `?format=csv`.
    #[schema(example = "/v1/jobs/job_0123456789abcdef0123456789abcdef/predictions")]
    pub href: String,
    /// Number of rows.
    pub images: u64,
    /// Rows with an error instead of predictions.
    pub errors: u64,
    pub jsonl: PredictionsFile,
    pub csv: PredictionsFile,
}

/// One of the two files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PredictionsFile {
    /// SHA-256, hexadecimal.
    pub sha256: String,
    pub bytes: u64,
}

impl BatchPredictions {
    pub fn href(job: JobId) -> String {
        format!("/v1/jobs/{job}/predictions")
    }
}
