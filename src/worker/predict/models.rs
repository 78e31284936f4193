//! The loaded networks: each only once, however many requests need it, the least recently used being dropped when memory is short.
//!
//! Shared by the lanes. No network is used before it has computed a golden input like the network that it was folded from.

use std::{
    collections::BTreeMap,
    panic,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
};

use tch::{Device, Kind, Tensor};

use super::{batch_size::padded_size, lru::Lru};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::models::model::ModelCard,
    protocol::frames::{BaseFile, ModelFiles, PredictOutcome},
    worker::{
        files::{
            adapters,
            bundle::{self, BundleFault},
            state::StateDict,
        },
        nets::{
            Network,
            folded::{Folded, Form},
            layers::channels_last,
        },
    },
};

pub(super) struct Models {
    device: Device,
    /// Of the largest batch: what a first request would otherwise wait for is done when a model is loaded.
    max_batch: usize,
    /// Of a single image.
    threads: usize,
    /// By the SHA-256 of the weights.
    slots: Mutex<Lru<String, Arc<Slot>>>,
    /// What loaded adapters are beside, each once, by the SHA-256 of its file.
    bases: Mutex<BTreeMap<String, Weak<Base>>>,
}

/// Tensors may be used by one thread at a time.
type Base = Mutex<StateDict>;

/// Empty while a network is being loaded, for which others wait, and if loading failed.
type Slot = Mutex<Option<Loaded>>;

/// Why a model cannot be used, in a sentence for the operator.
pub(super) enum ModelFault {
    /// Its files are damaged.
    Damaged(String),
    Unusable(String),
}

impl From<BundleFault> for ModelFault {
    fn from(fault: BundleFault) -> Self {
        let message = fault.to_string();
        match fault {
            BundleFault::Damaged(_) => Self::Damaged(message),
            _ => Self::Unusable(message),
        }
    }
}

impl From<String> for ModelFault {
    fn from(message: String) -> Self {
        Self::Unusable(message)
    }
}

impl From<ModelFault> for PredictOutcome {
    fn from(fault: ModelFault) -> Self {
        match fault {
            ModelFault::Damaged(message) => PredictOutcome::ModelDamaged { message },
            ModelFault::Unusable(message) => PredictOutcome::ModelUnusable { message },
        }
    }
}

/// A network in memory. oneDNN's preferred kernel layout depends on the number of images and threads.
struct Loaded {
    /// For batches, each on one thread.
    together: Folded,
    /// For a single image with all threads; none if there is only one thread, and on a GPU.
    alone: Option<Folded>,
    /// What it shares with other adapters.
    _base: Option<Arc<Base>>,
}

/// What a network takes of the budget.
struct Cost {
    /// Bytes of its own.
    own: u64,
    /// SHA-256 and bytes of the base that it shares with others.
    base: Option<(String, u64)>,
}

impl Models {
    /// `budget` is in bytes of weights, in all the forms in which they are kept for computing.
    pub fn new(device: Device, budget: u64, max_batch: usize, threads: usize) -> Self {
        Self {
            device,
            max_batch,
            threads,
            slots: Mutex::new(Lru::new(budget)),
            bases: Mutex::default(),
        }
    }

    /// The network of a model, loaded if necessary: for a single image (`alone`) with all threads, or for any other batch. Failures are not
    /// remembered: the next request tries again.
    pub fn network(&self, files: &ModelFiles, card: &ModelCard, alone: bool) -> Result<Folded, ModelFault> {
        let key = key(files);
        let slot = self.slot(&key);
        let mut loaded = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.is_none() {
            // On its own thread: libgomp's pool for it ends with it, and the lanes keep theirs.
            let load = || without_gradients(|| self.load(files, card));
            let done = thread::scope(|scope| scope.spawn(load).join());
            let (network, cost) = done.unwrap_or_else(|fault| panic::resume_unwind(fault))?;
            *loaded = Some(network);
            // From now on its weight is known.
            self.slots().insert_with(key, slot.clone(), cost.own, cost.base);
        }
        let network = loaded.as_ref().map(|loaded| match &loaded.alone {
            Some(network) if alone => network,
            _ => &loaded.together,
        });
        network
            .filter(|network| network.architecture() == card.architecture)
            .map(Folded::share)
            .ok_or_else(|| format!("the model's weights do not match {}", card.architecture).into())
    }

    /// Drops everything that is loaded, to free the device's memory.
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

    /// Bytes of the base of an adapter that have to be loaded.
    fn missing(&self, base: Option<&BaseFile>) -> u64 {
        let Some(base) = base else { return 0 };
        let bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = (bases.get(&base.sha256)).is_some_and(|base| base.strong_count() > 0);
        match is_there {
            true => 0,
            // What cannot be read is found when it is.
            false => std::fs::metadata(&base.path).map_or(0, |file| file.len()),
        }
    }

    /// The tensors that an adapter is beside, on the device, loaded if no other adapter has them.
    fn base(&self, file: &BaseFile) -> Result<Arc<Base>, ModelFault> {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.retain(|_, base| base.strong_count() > 0);
        if let Some(base) = bases.get(&file.sha256).and_then(Weak::upgrade) {
            return Ok(base);
        }
        let read = bundle::read_base(file)?;
        let placed = read
            .into_iter()
            .map(|(name, tensor)| (name, tensor.to_device(self.device)));
        let base = Arc::new(Mutex::new(placed.collect()));
        bases.insert(file.sha256.clone(), Arc::downgrade(&base));
        Ok(base)
    }

    /// A network and what it takes.
    fn load(&self, files: &ModelFiles, card: &ModelCard) -> Result<(Loaded, Cost), ModelFault> {
        let own = bundle::read_own_weights(files)?;
        let has_alone = self.device == Device::Cpu && self.threads > 1;
        let needed = weight_of(&own) * (1 + u64::from(has_alone)) + self.missing(files.base.as_ref());
        self.slots().make_room(needed);
        let base = files.base.as_ref().map(|base| self.base(base)).transpose()?;
        let weights = match &base {
            Some(base) => adapters::joined(&base.lock().unwrap_or_else(PoisonError::into_inner), own),
            None => own,
        };
        let network = Network::loaded(card.architecture, card.outputs(), &weights, Device::Cpu)
            .map_err(|fault| fault.to_string())?;
        let side = i64::from(card.preprocessing.crop);
        tch::set_num_threads(self.threads as i32);
        let folded = match &base {
            // A copy would be a base of its own.
            Some(_) => folded_by(&network, self.device, side, |kind| {
                let form = Form {
                    kind,
                    device: self.device,
                    shares: true,
                };
                Folded::of_weights(card.architecture, card.outputs(), &weights, form)
            }),
            None => folded(&network, self.device, side),
        }?;
        let prepared = |batch: usize, threads: usize| {
            tch::set_num_threads(threads as i32);
            let packed = packed(&folded, &network, batch as i64, side)?;
            let mut sizes: Vec<_> = (1..=batch).map(|count| padded_size(count, self.device)).collect();
            sizes.dedup();
            match self.device {
                Device::Cuda(_) => sizes.into_iter().for_each(|size| warm_up(&packed, size, side)),
                _ => warm_up(&packed, batch, side),
            }
            Ok::<_, String>(packed)
        };
        let loaded = Loaded {
            alone: has_alone.then(|| prepared(1, self.threads)).transpose()?,
            together: prepared(self.max_batch, 1)?,
            _base: None,
        };
        let (own, shared) = loaded.together.bytes();
        let of_alone = loaded.alone.as_ref().map_or(0, |network| network.bytes().0);
        let all = own + shared + of_alone;
        let (whole, in_common) = base.as_ref().map_or((0, 0), |base| {
            let base = base.lock().unwrap_or_else(PoisonError::into_inner);
            (weight_of(&base), folded.bytes_shared_with(&base))
        });
        // Where most of a base is folded into kernels of the model's own, keeping it would only take more.
        let kept = base.filter(|_| 2 * in_common >= whole);
        let cost = Cost {
            own: all - if kept.is_some() { in_common } else { 0 },
            base: (kept.as_ref().and(files.base.as_ref())).map(|file| (file.sha256.clone(), whole)),
        };
        Ok((
            Loaded {
                _base: kept,
                ..loaded
            },
            cost,
        ))
    }
}

/// Distinguishes a model's weights from all others.
fn key(files: &ModelFiles) -> String {
    match &files.base {
        Some(base) => format!("{}+{}", files.sha256, base.sha256),
        None => files.sha256.clone(),
    }
}

/// Types to compute in, the fastest first, and how far the results may be from the original network's in each.
fn kinds(device: Device) -> &'static [(Kind, f64)] {
    if device.is_cuda() {
        &[(Kind::Half, 0.05), (Kind::Float, 0.01)]
    } else {
        &[(Kind::Float, 1e-3)]
    }
}

/// Folds a network in the fastest type in which its results are still accurate.
pub(in crate::worker) fn folded(network: &Network, device: Device, side: i64) -> Result<Folded, String> {
    folded_by(network, device, side, |kind| Folded::of(network, kind, device))
}

/// The same with what folds it in a type.
fn folded_by(
    network: &Network,
    device: Device,
    side: i64,
    fold: impl Fn(Kind) -> Folded,
) -> Result<Folded, String> {
    let mut fault = String::new();
    for &(kind, allowed) in kinds(device) {
        match checked(fold(kind), network, side, allowed) {
            Ok(folded) => return Ok(folded),
            Err(found) => fault = found,
        }
    }
    Err(fault)
}

/// The same for batches of this size, if its results are still accurate.
pub(in crate::worker) fn packed(
    folded: &Folded,
    network: &Network,
    batch: i64,
    side: i64,
) -> Result<Folded, String> {
    let allowed = kinds(folded.device())
        .iter()
        .find(|(kind, _)| *kind == folded.kind());
    let (_, allowed) = allowed.expect("it was folded in one of them");
    checked(folded.packed_for(batch, side), network, side, *allowed)
}

/// If the network's own output is not finite, there is nothing to compare: every request will get an error.
fn checked(folded: Folded, network: &Network, side: i64, allowed: f64) -> Result<Folded, String> {
    match folded.distance_from(network, &golden_image(1, side)) {
        Some(distance) if distance > allowed => Err(format!(
            "on {:?} the network computes wrong results: its outputs for a known image differ by {distance:.1e}",
            folded.device()
        )),
        _ => Ok(folded),
    }
}

fn warm_up(network: &Folded, batch: usize, side: i64) {
    let _only_to_warm_up = network.logits(&golden_image(batch as i64, side));
}

/// An image `[count, 3, side, side]` that is always the same, with values like those of normalised images.
pub(super) fn golden_image(count: i64, side: i64) -> Tensor {
    let places = Tensor::arange(count * 3 * side * side, (Kind::Float, Device::Cpu));
    let waves = (&places * 0.37).sin() + (&places * 0.011).cos();
    channels_last(&waves.view([count, 3, side, side]))
}

fn weight_of(state: &StateDict) -> u64 {
    let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    state.values().map(|tensor| bytes(tensor) as u64).sum()
}
