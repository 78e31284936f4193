//! The forms in which a network is kept for computing: folded in the fastest type that is accurate enough, and packed for a number of images.

use std::panic::{self, AssertUnwindSafe};

use tch::{Device, Kind};

use super::{
    batch_size::padded_size,
    golden::{Computed, Golden, Question, golden_image},
};
use crate::worker::nets::{Network, folded::Folded};

/// Types to compute in, the fastest first, and how far the results may be from the original network's in each.
fn kinds(device: Device) -> &'static [(Kind, f64)] {
    if device.is_cuda() {
        &[(Kind::Half, 0.05), (Kind::Float, 0.01)]
    } else {
        &[(Kind::Float, 1e-3)]
    }
}

/// How far results in the type of a form may be from the original network's.
fn allowed(folded: &Folded) -> f64 {
    let kinds = kinds(folded.device()).iter();
    let of = kinds.filter(|(kind, _)| *kind == folded.kind());
    of.map(|(_, allowed)| *allowed)
        .next()
        .expect("it was folded in one of them")
}

/// Folds a network in the fastest type in which its results are still accurate, and packs it for batches of this size.
pub(in crate::worker) fn packed(
    network: &Network,
    device: Device,
    batch: i64,
    side: i64,
) -> Result<Folded, String> {
    let question = Question::about(network.architecture(), device, side);
    let golden = || Ok::<_, String>(Golden::of(network, question));
    let fold = |kind| Folded::of(network, kind, device);
    Ok(accurate((question, golden), device, Some(batch), side, fold)?.packed)
}

/// A network in the forms in which it is kept.
pub(super) struct Forms {
    pub golden: Golden,
    pub folded: Folded,
    /// For batches of one size. On a GPU, and where no size is given, it is the folded network itself.
    pub packed: Folded,
}

/// Folds a network in the fastest type in which its results are still accurate. `golden` is asked for when there is something to compare: it
/// may come from another thread.
pub(super) fn accurate<E: From<String>>(
    (question, golden): (Question, impl FnOnce() -> Result<Golden, E>),
    device: Device,
    batch: Option<i64>,
    side: i64,
    fold: impl Fn(Kind) -> Folded,
) -> Result<Forms, E> {
    let made = |kind| {
        let folded = fold(kind);
        let packed = match batch {
            Some(batch) => folded.packed_for(batch, side),
            None => folded.share(),
        };
        let computed = Computed::by(&packed, question);
        (folded, packed, computed)
    };
    let mut kinds = kinds(device).iter();
    let (kind, _) = kinds.next().expect("there is one");
    // Weights that do not fit cannot be folded either; what does not fit is said where the network is built.
    let first = panic::catch_unwind(AssertUnwindSafe(|| made(*kind)));
    let golden = golden()?;
    let mut form = first.unwrap_or_else(|fault| panic::resume_unwind(fault));
    loop {
        let (folded, packed, computed) = form;
        match (golden.check(&computed, allowed(&folded)), kinds.next()) {
            (Ok(()), _) => {
                return Ok(Forms {
                    golden,
                    folded,
                    packed,
                });
            }
            (Err(_), Some((kind, _))) => form = made(*kind),
            (Err(fault), None) => return Err(fault.into()),
        }
    }
}

/// The form of a folded network for batches of this size, if its results are still accurate.
pub(super) fn repacked(folded: &Folded, golden: &Golden, batch: i64, side: i64) -> Result<Folded, String> {
    let packed = folded.packed_for(batch, side);
    golden.check(&golden.asked(&packed), allowed(folded))?;
    Ok(packed)
}

/// Computes what a first request would otherwise wait for.
pub(super) fn warm_up(network: &Folded, most: usize, side: i64) {
    let device = network.device();
    let mut sizes: Vec<_> = match device {
        Device::Cuda(_) => (1..=most).map(|count| padded_size(count, device)).collect(),
        _ => vec![most],
    };
    sizes.dedup();
    for size in sizes {
        let _only_to_warm_up = network.logits(&golden_image(size as i64, side));
    }
}
