//! Weights from a hub with Hugging Face's API: `model.safetensors`, and `config.json` where it is not known otherwise what they are.

use std::{fs, path::Path};

use super::{
    cache::{self, Known, Place},
    contents::Contents,
    description::Description,
    download::{self, Wanted},
    fault::HubFault,
    loading::{BaseWeights, LoadedWeights, Patience, WeightsFault, loaded, refused, unavailable},
    request::{self, Hub},
};
use crate::{
    domain::spec::Architecture,
    protocol::{HubSource, WorkerMessage},
    worker::{
        files::state,
        process::child::{Reporter, StopFlag},
    },
};

/// Largest file of weights that is downloaded. A ResNet-152 has 242 MB.
const MAX_BYTES: u64 = 2 << 30;
/// Largest `config.json`: one with the names of 21 000 classes has a megabyte.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// The weights, from the cache if they are there.
///
/// # Errors
/// [`WeightsFault`], with what to do.
pub(super) fn from_hub(
    hub: &HubSource,
    architecture: Architecture,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<LoadedWeights, WeightsFault> {
    fetched(hub, architecture, patience, reporter, stop).map_err(|fault| explain(&fault, hub, architecture))
}

/// Whether [`from_hub`] would fetch something.
pub(super) fn is_to_fetch(hub: &HubSource) -> bool {
    !hub.offline && (!is_cached(hub) || (hub.described && is_description_to_fetch(hub)))
}

/// Whether [`described`] would fetch something.
pub(super) fn is_description_to_fetch(hub: &HubSource) -> bool {
    !hub.offline && !wanted(hub, cache::CONFIG).is_ok_and(|wanted| wanted.is_cached())
}

/// Fetches what [`from_hub`] then finds in the cache.
///
/// # Errors
/// As [`from_hub`].
pub(super) fn fetch(
    hub: &HubSource,
    architecture: Architecture,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(), WeightsFault> {
    into_cache(hub, patience, reporter, stop).map_err(|fault| explain(&fault, hub, architecture))
}

/// As [`fetch`], for a caller who has other weights to fall back on.
pub(super) fn into_cache(
    hub: &HubSource,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(), HubFault> {
    obtain(hub, cache::WEIGHTS, patience, reporter, stop)?;
    if hub.described {
        obtain(hub, cache::CONFIG, patience, reporter, stop)?;
    }
    Ok(())
}

/// As [`from_hub`], for a caller who has other weights to fall back on.
pub(super) fn fetched(
    hub: &HubSource,
    architecture: Architecture,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<LoadedWeights, HubFault> {
    let path = obtain(hub, cache::WEIGHTS, patience, reporter, stop)?;
    reporter.send(&WorkerMessage::alive());
    let contents = Contents {
        state: state::read(&path)?,
        told: Vec::new(),
        guessed: false,
    };
    let classes = match hub.described {
        true => description(hub, patience, reporter, stop)?.classes,
        false => None,
    };
    let origin = BaseWeights::of_file(name(hub), &path);
    Ok(loaded(contents, architecture, origin, classes))
}

fn name(hub: &HubSource) -> String {
    format!("{}@{}", hub.repository, hub.revision)
}

/// What the weights are called, and the digest of their file, if they are in the cache, undamaged.
pub(super) fn origin(hub: &HubSource) -> Option<BaseWeights> {
    let wanted = wanted(hub, cache::WEIGHTS).ok()?;
    let digest = wanted.is_cached().then(|| wanted.place.known_digest())?;
    Some(BaseWeights::named(name(hub), Some(digest?)))
}

/// Whether the weights are in the cache.
pub(super) fn is_cached(hub: &HubSource) -> bool {
    wanted(hub, cache::WEIGHTS).is_ok_and(|wanted| wanted.is_cached())
}

/// What the repository's `config.json` says.
///
/// # Errors
/// [`WeightsFault`], also if it is of another network.
pub(super) fn described(
    hub: &HubSource,
    architecture: Architecture,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Description, WeightsFault> {
    let described = description(hub, patience, reporter, stop);
    let described = described.map_err(|fault| explain(&fault, hub, architecture))?;
    described.check_architecture(architecture).map_err(|why| {
        unavailable(format!(
            "the weights `hub:{}` cannot be used: {why}",
            hub.repository
        ))
    })?;
    Ok(described)
}

fn description(
    hub: &HubSource,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<Description, HubFault> {
    let path = obtain(hub, cache::CONFIG, patience, reporter, stop)?;
    Description::read(&fs::read(path)?).map_err(HubFault::NotDescription)
}

fn obtain(
    hub: &HubSource,
    file: &str,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<std::path::PathBuf, HubFault> {
    let locate = || {
        let client = Hub::new(hub, patience)?;
        let address = client.address(&hub.repository, &hub.revision, file)?;
        Ok((client, address))
    };
    download::cached(&wanted(hub, file)?, locate, patience, reporter, stop)
}

fn wanted(hub: &HubSource, file: &str) -> Result<Wanted, HubFault> {
    let place = Place::of_hub(hub, file)?;
    let (host, offline) = (request::host_of(&hub.endpoint), hub.offline);
    Ok(if file == cache::CONFIG {
        Wanted {
            place,
            what: format!("the description of the weights {}", hub.repository),
            host,
            known: Known::default(),
            offline,
            most_bytes: MAX_CONFIG_BYTES,
            is_sound: is_description,
        }
    } else {
        Wanted {
            place,
            what: format!("the weights {}", hub.repository),
            host,
            known: Known {
                sha256: hub.sha256.clone(),
                bytes: hub.bytes,
            },
            offline,
            most_bytes: MAX_BYTES,
            is_sound: |path| Ok(state::read_metadata(path).map(drop)?),
        }
    })
}

fn is_description(path: &Path) -> Result<(), HubFault> {
    let read = Description::read(&fs::read(path)?);
    read.map(drop).map_err(HubFault::NotDescription)
}

fn explain(fault: &HubFault, hub: &HubSource, architecture: Architecture) -> WeightsFault {
    let host = request::host_of(&hub.endpoint);
    let what = format!(
        "pretrained weights for {architecture} (`{}`) could not be obtained",
        hub.repository
    );
    let advice = match fault {
        HubFault::Missing { .. } if hub.described => "Check the name of the repository in `backbone.weights`",
        _ => fault.advice(),
    };
    refused(fault, &what, &format!("{host}: {fault}"), advice, architecture)
}
