//! The forms in which a network is kept for computing: folded in the fastest type that is accurate enough, and packed for a number of images.

use tch::{Device, Kind};

use super::{
    batch_size::padded_size,
    golden::{Golden, golden_image},
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
    let golden = Golden::of(network, side);
    let (_, packed) = accurate(device, &golden, batch, side, |kind| {
        Folded::of(network, kind, device)
    })?;
    Ok(packed)
}

/// The folded network and its form for batches of this size. On a GPU the two are the same.
pub(super) fn accurate(
    device: Device,
    golden: &Golden,
    batch: i64,
    side: i64,
    fold: impl Fn(Kind) -> Folded,
) -> Result<(Folded, Folded), String> {
    let mut fault = String::new();
    for &(kind, _) in kinds(device) {
        let folded = fold(kind);
        match repacked(&folded, golden, batch, side) {
            Ok(packed) => return Ok((folded, packed)),
            Err(found) => fault = found,
        }
    }
    Err(fault)
}

/// The form of a folded network for batches of this size, if its results are still accurate.
pub(super) fn repacked(folded: &Folded, golden: &Golden, batch: i64, side: i64) -> Result<Folded, String> {
    let packed = folded.packed_for(batch, side);
    golden.check(&packed, allowed(folded))?;
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
