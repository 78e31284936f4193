//! The loaded networks: each only once, however many requests need it, the least recently used being dropped when memory is short.
//!
//! Shared by the lanes. No network is used before it has computed a golden input like the network that it was folded from. It is packed
//! for a number of images after the second answer that would have been faster so.

use std::{
    collections::BTreeMap,
    panic,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread::{self, Scope},
};

use tch::{Device, Kind, Tensor};

use super::{
    forms::{Forms, accurate, repacked, warm_up},
    golden::{Golden, Question},
    lru::Lru,
};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::models::model::ModelCard,
    protocol::frames::{BaseFile, ModelFiles, PredictOutcome},
    worker::{
        fault,
        files::{
            adapters,
            bundle::{self, BundleFault},
            state::StateDict,
        },
        nets::{
            Network,
            folded::{Folded, Form},
        },
    },
};

pub(super) struct Models {
    device: Device,
    /// Images in the largest batch.
    max_batch: usize,
    /// Of a single image.
    threads: usize,
    /// By the SHA-256 of the weights.
    slots: Mutex<Lru<String, Arc<Slot>>>,
    /// What loaded adapters are beside, each once, by the SHA-256 of its file.
    bases: Mutex<BTreeMap<String, Weak<Base>>>,
    /// Forms that were asked for, and are not made yet.
    orders: Mutex<Vec<Order>>,
}

/// A form is made for whoever asks a second time: a model that is asked once costs no more than that.
const ASKED_AGAIN: u64 = 2;

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

/// A network in memory, in one form at least. oneDNN's preferred kernel layout depends on the number of images and threads.
struct Loaded {
    /// For batches, each on one thread, or on the only one; on a GPU for all.
    together: Option<Folded>,
    /// For a single image with all threads.
    alone: Option<Folded>,
    /// What the others are made of, and computed with until they are; none if that is not needed any more.
    plain: Option<Arc<Plain>>,
    /// How often each of them was asked for while it was not there.
    asked: [u64; 2],
    /// What it was said to take of the budget when it was loaded.
    expected: u64,
    /// Bytes of it that are its base's.
    in_common: u64,
    /// What it shares with other adapters.
    _base: Option<Arc<Base>>,
}

/// A folded network that is packed for no number of images.
struct Plain {
    folded: Mutex<Folded>,
    golden: Mutex<Golden>,
    /// Of its images, in pixels.
    side: i64,
}

/// A form that is to be made.
struct Order {
    key: String,
    slot: Arc<Slot>,
    plain: Arc<Plain>,
    alone: bool,
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
            orders: Mutex::default(),
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
            self.slots()
                .insert_with(key.clone(), slot.clone(), cost.own, cost.base);
        }
        let network = loaded.as_mut().and_then(|loaded| {
            if let Some(order) = loaded.order(key, &slot, alone) {
                let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
                orders.push(order);
            }
            loaded.form(alone)
        });
        network
            .filter(|network| network.architecture() == card.architecture)
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
        if let Some(base) = self.loaded_base(&file.sha256) {
            return Ok(base);
        }
        // Models of other bases are not to wait for it.
        let read = bundle::read_base(file)?;
        let placed = read
            .into_iter()
            .map(|(name, tensor)| (name, tensor.to_device(self.device)));
        let base = Arc::new(Mutex::new(placed.collect()));
        if let Some(earlier) = self.loaded_base(&file.sha256) {
            return Ok(earlier);
        }
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.insert(file.sha256.clone(), Arc::downgrade(&base));
        Ok(base)
    }

    fn loaded_base(&self, sha256: &str) -> Option<Arc<Base>> {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.retain(|_, base| base.strong_count() > 0);
        bases.get(sha256).and_then(Weak::upgrade)
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
        let weights = in_floats(weights);
        let side = i64::from(card.preprocessing.crop);
        // What an answer can do without is made after it.
        let first = if has_alone {
            None
        } else {
            Some(self.max_batch as i64)
        };
        let Forms {
            golden,
            folded,
            packed,
        } = self.forms(&weights, card, first)?;
        let (own, shared) = packed.bytes();
        // Each of the two forms that may be asked for takes about as much again.
        let all = own * (1 + u64::from(has_alone)) + shared;
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
        let mut loaded = Loaded {
            alone: None,
            together: None,
            plain: None,
            asked: [0; 2],
            expected: cost.own,
            in_common: if kept.is_some() { in_common } else { 0 },
            _base: kept,
        };
        if has_alone {
            loaded.plain = Some(Arc::new(Plain {
                folded: Mutex::new(folded),
                golden: Mutex::new(golden),
                side,
            }));
        } else {
            warm_up(&packed, self.max_batch, side);
            loaded.together = Some(packed);
        }
        Ok((loaded, cost))
    }

    /// The forms of a network with these weights, packed for batches of this size or not at all. The network that they are compared with is
    /// built and computed beside them.
    fn forms(&self, weights: &StateDict, card: &ModelCard, batch: Option<i64>) -> Result<Forms, ModelFault> {
        let side = i64::from(card.preprocessing.crop);
        let (architecture, outputs) = (card.architecture, card.outputs());
        let threads = (self.threads / 2).max(1) as i32;
        let question = Question::about(architecture, self.device, side);
        // Its tensors are shared, and each thread has handles of its own.
        let lent: StateDict = weights
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        thread::scope(|scope| {
            let original = scope.spawn(move || {
                tch::set_num_threads(threads);
                let network =
                    Network::lent(architecture, outputs, &lent).map_err(|fault| fault.to_string())?;
                Ok::<_, String>(Golden::of(&network, question))
            });
            tch::set_num_threads(threads);
            let golden = || {
                let done = original.join();
                let golden = done.unwrap_or_else(|fault| panic::resume_unwind(fault))?;
                Ok(golden)
            };
            accurate((question, golden), self.device, batch, side, |kind| {
                let form = Form {
                    kind,
                    device: self.device,
                    shares: true,
                };
                Folded::of_weights(architecture, outputs, weights, form)
            })
        })
    }

    /// Makes the forms that were asked for since the last time, each in a thread of its own, beside the lanes.
    pub fn make_forms<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        for order in orders.drain(..) {
            // Where there is no thread for it, the plain form is used on.
            let _ = thread::Builder::new()
                .name("packing".to_owned())
                .spawn_scoped(scope, move || self.make(&order));
        }
    }

    fn make(&self, order: &Order) {
        let (batch, threads) = match order.alone {
            true => (1, self.threads),
            false => (self.max_batch, 1),
        };
        tch::set_num_threads(threads as i32);
        let side = order.plain.side;
        let packed = fault::caught(|| {
            without_gradients(|| {
                let folded = order.plain.folded();
                let golden = order.plain.golden.lock().unwrap_or_else(PoisonError::into_inner);
                let packed = repacked(&folded, &golden, batch as i64, side)?;
                warm_up(&packed, batch, side);
                Ok::<_, String>(packed)
            })
        });
        let packed = match packed.map_err(|fault| fault.to_string()).flatten() {
            Ok(packed) => packed,
            Err(fault) => {
                tracing::warn!("a model is computed in the form that it was loaded in: {fault}");
                return;
            }
        };
        let mut slot = order.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = slot.as_mut() {
            let form = if order.alone {
                &mut loaded.alone
            } else {
                &mut loaded.together
            };
            *form = Some(packed);
            if loaded.alone.is_some() && loaded.together.is_some() {
                loaded.plain = None;
            }
            // Only now it is known: Winograd's kernels are larger than those that they are made of.
            self.slots().reweigh(&order.key, loaded.weight());
        }
    }
}

impl Loaded {
    /// The best form that there is.
    fn form(&self, alone: bool) -> Option<Folded> {
        let form = if alone { &self.alone } else { &self.together };
        let form = form.as_ref().map(Folded::share);
        let plain = || self.plain.as_ref().map(|plain| plain.folded());
        let other = || self.together.as_ref().or(self.alone.as_ref()).map(Folded::share);
        form.or_else(plain).or_else(other)
    }

    /// Bytes of all its forms, without what is its base's; not below what was expected, because a form may still come.
    fn weight(&self) -> u64 {
        let plain = self.plain.as_ref().map(|plain| plain.folded().bytes());
        let forms = [&self.alone, &self.together].into_iter().flatten();
        let (mut own, mut shared) = (0, 0);
        for (of_form, in_all) in forms.map(Folded::bytes).chain(plain) {
            own += of_form;
            shared = shared.max(in_all);
        }
        self.expected.max((own + shared).saturating_sub(self.in_common))
    }

    /// The order for a form that is asked for again and can be made.
    fn order(&mut self, key: String, slot: &Arc<Slot>, alone: bool) -> Option<Order> {
        let plain = self.plain.clone()?;
        let asked = &mut self.asked[usize::from(alone)];
        *asked += 1;
        if *asked != ASKED_AGAIN {
            return None;
        }
        Some(Order {
            key,
            slot: slot.clone(),
            plain,
            alone,
        })
    }
}

impl Plain {
    fn folded(&self) -> Folded {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner).share()
    }
}

/// Distinguishes a model's weights from all others.
fn key(files: &ModelFiles) -> String {
    match &files.base {
        Some(base) => format!("{}+{}", files.sha256, base.sha256),
        None => files.sha256.clone(),
    }
}

/// Files may have 16-bit floats; layers would convert them again for each batch.
fn in_floats(weights: StateDict) -> StateDict {
    let float = |tensor: Tensor| match tensor.is_floating_point() {
        true => tensor.to_kind(Kind::Float),
        false => tensor,
    };
    weights
        .into_iter()
        .map(|(name, tensor)| (name, float(tensor)))
        .collect()
}

fn weight_of(state: &StateDict) -> u64 {
    let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    state.values().map(|tensor| bytes(tensor) as u64).sum()
}
