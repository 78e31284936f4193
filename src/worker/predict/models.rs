//! The networks that are loaded: each once, however many ask, the longest unused leaving when memory is short.
//!
//! Shared by the lanes. A network answers nobody before it has computed a golden input like the network that it was folded from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};

use super::lru::Lru;
use crate::{
    domain::model::ModelCard,
    protocol::frames::ModelFiles,
    worker::{
        bundle,
        nets::{Network, folded::Folded, layers::channels_last},
        state::StateDict,
    },
};

pub(super) struct Models {
    device: Device,
    /// Of a batch that is as large as one can be: what else a first request would wait for is done when a model is loaded.
    max_batch: usize,
    /// By the SHA-256 of the weights.
    slots: Mutex<Lru<String, Arc<Slot>>>,
}

/// Empty while a network is loaded, which whoever else wants it waits for, and where that failed.
type Slot = Mutex<Option<Folded>>;

impl Models {
    /// `budget` in bytes of weights.
    pub fn new(device: Device, budget: u64, max_batch: usize) -> Self {
        Self {
            device,
            max_batch,
            slots: Mutex::new(Lru::new(budget)),
        }
    }

    /// The network of a model, loaded where it is not. What could not be loaded is not remembered: the next request tries again.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn network(&self, files: &ModelFiles, card: &ModelCard) -> Result<Folded, String> {
        let slot = self.slot(&files.sha256);
        let mut loaded = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.is_none() {
            let (network, bytes) = self.load(files, card)?;
            *loaded = Some(network);
            // From now on it has its weight.
            self.slots().insert(files.sha256.clone(), slot.clone(), bytes);
        }
        let network = loaded
            .as_ref()
            .filter(|network| network.architecture() == card.architecture);
        network
            .map(Folded::share)
            .ok_or_else(|| format!("the model's weights are not those of a {}", card.architecture))
    }

    /// Forgets everything that is loaded, so that the device has its memory back.
    pub fn clear(&self) {
        self.slots().make_room(u64::MAX);
    }

    fn slot(&self, sha256: &String) -> Arc<Slot> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(sha256) {
            return slot.clone();
        }
        slots.insert(sha256.clone(), Arc::default(), 0).clone()
    }

    fn slots(&self) -> MutexGuard<'_, Lru<String, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A network and the bytes of its weights.
    fn load(&self, files: &ModelFiles, card: &ModelCard) -> Result<(Folded, u64), String> {
        let weights =
            bundle::read_weights(&files.weights, &files.sha256).map_err(|fault| fault.to_string())?;
        let bytes = weight_of(&weights);
        self.slots().make_room(bytes);
        let network = Network::loaded(card.architecture, card.classes.len(), &weights, Device::Cpu)
            .map_err(|fault| fault.to_string())?;
        let side = i64::from(card.preprocessing.crop);
        let folded = folded(&network, self.device, self.max_batch as i64, side)?;
        warm_up(&folded, self.max_batch, side);
        Ok((folded, bytes))
    }
}

/// Kinds of numbers to compute in, the fastest first, and how far from the network as it was trained its answers may be in each.
fn kinds(device: Device) -> &'static [(Kind, f64)] {
    if device.is_cuda() {
        &[(Kind::Half, 0.05), (Kind::Float, 0.01)]
    } else {
        &[(Kind::Float, 1e-3)]
    }
}

/// Folds a network in the fastest kind of numbers in which it still computes what it should.
pub(in crate::worker) fn folded(
    network: &Network,
    device: Device,
    batch: i64,
    side: i64,
) -> Result<Folded, String> {
    let golden = golden_picture(1, side);
    let mut apart = f64::NAN;
    for &(kind, allowed) in kinds(device) {
        let folded = Folded::of(network, kind, device).packed_for(batch, side);
        match folded.distance_from(network, &golden) {
            Some(distance) if distance > allowed => apart = distance,
            // Where the network itself gives no numbers, every answer will be told to have none.
            _ => return Ok(folded),
        }
    }
    Err(format!(
        "on {device:?} the network computes something else than it should: its answers to a known picture are {apart:.1e} apart"
    ))
}

fn warm_up(network: &Folded, batch: usize, side: i64) {
    let _only_to_warm_up = network.logits(&golden_picture(batch as i64, side));
}

/// A picture `[count, 3, side, side]` that is always the same, with values such as normalised pictures have.
pub(super) fn golden_picture(count: i64, side: i64) -> Tensor {
    let places = Tensor::arange(count * 3 * side * side, (Kind::Float, Device::Cpu));
    let waves = (&places * 0.37).sin() + (&places * 0.011).cos();
    channels_last(&waves.view([count, 3, side, side]))
}

fn weight_of(state: &StateDict) -> u64 {
    let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    state.values().map(|tensor| bytes(tensor) as u64).sum()
}
