//! The source of base weights.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::spec::Architecture;

/// Base weights, resolved as far as the server can without opening them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum WeightsSource {
    /// Random initialisation.
    None,
    /// A file of safetensors or of `torch.save`, with torchvision's names; a head for other classes is ignored.
    File {
        path: PathBuf,
        origin: String,
        /// Of the file, hexadecimal, if it is the server's own.
        sha256: Option<String>,
    },
    /// A hub with Hugging Face's API.
    Hub(HubSource),
    /// The requested weights do not exist: the job fails with this message.
    Unavailable { message: String },
}

/// Where and how to fetch pretrained weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HubSource {
    /// Such as `https://hub.example`: the file is at `{endpoint}/{repository}/resolve/{revision}/model.safetensors`.
    pub endpoint: String,
    pub repository: String,
    pub revision: String,
    /// Use only what is in the cache.
    pub offline: bool,
    /// Shared by all jobs of the server: files appear in it complete, by rename.
    pub cache: PathBuf,
    /// Known SHA-256 of the file, hexadecimal, and size; what the hub itself reports is checked as well.
    pub sha256: Option<String>,
    pub bytes: Option<u64>,
    /// For gated or private repositories.
    pub token: Option<String>,
}

impl HubSource {
    /// The repository of torchvision's ImageNet weights for an architecture, in timm's conversion (same parameter names).
    pub fn imagenet_repository(architecture: Architecture) -> String {
        format!("timm/{architecture}.tv_in1k")
    }
}
