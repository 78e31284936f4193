//! Cached activations: the frozen stages' outputs for every view of every image, computed once and kept for all epochs in which the same
//! stages are frozen, and for later jobs.
//!
//! Exact: with BatchNorm in eval mode the output of a frozen stage depends on the view alone. A view is an image with one of the
//! augmentations that training may give it. They are computed in an order and in batches that depend on the job only, so that a resumed run,
//! and a later one, has the same bits. Kept in a file of at most `max_activation_bytes`, if the number of views is fixed and the epochs use
//! each view at least once on average. Mixed images are never cached: the frozen stages' output for a mixture is not the mixture of their
//! outputs.

use std::collections::HashMap;

use tch::{Device, Tensor};

use super::loader::Item;
use crate::{
    protocol::UsedActivations,
    worker::{augment::View, files::rows::Rows},
};

/// Boundary activations by view.
pub struct CachedActivations {
    /// `[H, W, C]` each, or `[features]` where the whole backbone is frozen.
    pub(super) rows: Rows,
    /// The same on a GPU, if they fit there.
    pub(super) on_device: Option<Tensor>,
    /// By index of the image in the dataset, and view.
    pub(super) row: HashMap<(usize, View), usize>,
    /// The report to the server.
    pub used: UsedActivations,
}

impl CachedActivations {
    /// Most GPU memory that activations may use. A constant, not a fraction of the free memory: the computation must not depend on the
    /// moment.
    pub(super) const MAX_DEVICE_BYTES: u64 = 1 << 30;
    /// Images in a forward pass through the frozen stages. A card has to be given more to be busy; rows of different devices never meet.
    pub(in crate::worker::train) fn batch_size(device: Device) -> usize {
        if device.is_cuda() { 256 } else { 32 }
    }

    /// Boundary activations of some views, in this order.
    pub fn of(&self, items: &[Item]) -> anyhow::Result<Tensor> {
        let row = |item: &Item| self.row.get(&(item.image, item.view)).copied();
        let rows: Option<Vec<usize>> = items.iter().map(row).collect();
        let rows = rows.ok_or_else(|| anyhow::anyhow!("no activations were computed for an image"))?;
        let chosen = match &self.on_device {
            Some(all) => {
                let rows: Vec<i64> = rows.into_iter().map(|row| row as i64).collect();
                all.index_select(0, &Tensor::from_slice(&rows).to_device(all.device()))
            }
            None => self.rows.take(rows.into_iter())?,
        };
        Ok(match chosen.dim() {
            4 => chosen.permute([0, 3, 1, 2]),
            _ => chosen,
        })
    }
}
