//! A model that is beside weights which several models share: an adapter of them, or only a head.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::spec::Adapt;

/// What a model is beside its base. Predictions, exports and trainings that begin with it see one network, in which the adapter is merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Adapter {
    /// What was trained besides the head; none where nothing was: the base is the whole backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapt: Option<Adapt>,
    /// Trained parameters, those of the head included.
    pub parameters: u64,
    /// SHA-256 of the file of all weights that the model does not have itself, hexadecimal. Models with the same one share it, on the disk and
    /// in memory.
    pub base_sha256: String,
    /// Size of that file.
    pub base_bytes: u64,
}
