//! The frozen stages' activations of every view of every image, computed once and kept for all epochs in which the same stages are
//! frozen, and for later jobs.
//!
//! Exact: with BatchNorm in eval mode what leaves a frozen stage depends on the view alone. A view is an image in one of the views that
//! training may give it. They are computed in an order and in batches that depend on the job only, so that a resumed run, and a later
//! one, has the same bits. Kept in a file within `max_activation_bytes`, where there is a fixed number of views and the epochs will use
//! each view at least once on average. Mixed images are never kept: what leaves the frozen stages is no mixture of what leaves them
//! for each.

use std::collections::HashMap;

use tch::Tensor;

use super::loader::Item;
use crate::{
    protocol::UsedActivations,
    worker::{augment::View, files::rows::Rows},
};

/// Boundary activations by view.
pub struct CachedActivations {
    /// `[H, W, C]` each, or `[features]` where the whole backbone is frozen.
    pub(super) rows: Rows,
    /// The same on a card, where they have room there.
    pub(super) on_device: Option<Tensor>,
    /// By place in the dataset's images, and view.
    pub(super) row: HashMap<(usize, View), usize>,
    /// What the server is to know of them.
    pub used: UsedActivations,
}

impl CachedActivations {
    /// Most memory of a card that activations may take. A constant, not a share of what is free: what is computed must not depend on
    /// the moment.
    pub(super) const MAX_DEVICE_BYTES: u64 = 1 << 30;
    /// Images that go through the frozen stages together.
    pub(super) const BATCH_SIZE: usize = 32;

    /// Boundary activations of some views, in this order.
    pub fn of(&self, items: &[Item]) -> anyhow::Result<Tensor> {
        let row = |item: &Item| self.row.get(&(item.image, item.view)).copied();
        let rows: Option<Vec<usize>> = items.iter().map(row).collect();
        let rows = rows
            .ok_or_else(|| anyhow::anyhow!("an image is asked for that no activations were computed for"))?;
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
