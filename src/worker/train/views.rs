//! The frozen stages' activations of every view of every picture, computed once and kept for all epochs in which the same stages are
//! frozen.
//!
//! Exact: with BatchNorm in eval mode what leaves a frozen stage depends on the view alone. A view is a picture as training may see it:
//! as it is, or mirrored. They are computed in an order and in batches that depend on the job only, so that a resumed run computes the
//! same bits again. Kept where they fit into [`Views::MAX_BYTES`] and the epochs will use each view at least once on average.

use tch::{Kind, Tensor};

use super::{feed::Feed, halt::Halt, learner::Learner, loader::Item, pulse::Pulse, setup::Ground};
use crate::{
    protocol::{TrainRun, WorkerMessage},
    worker::child::Reporter,
};

/// Boundary activations by view.
pub struct Views {
    /// `[views, H, W, C]`, or `[views, features]` where the whole backbone is frozen.
    rows: Tensor,
    /// By place in the dataset's images: the row of the picture as it is; that of its mirror image, if there is one, follows.
    first_row: Vec<Option<i64>>,
}

impl Views {
    /// Most memory that activations may take. A constant, not a share of what is free: whether they are kept must not depend on the
    /// moment.
    const MAX_BYTES: u64 = 1 << 30;
    /// Pictures that go through the frozen stages together.
    const AT_A_TIME: usize = 32;

    /// Computes all activations where they are worth keeping for `epoch` and those with the same frozen stages; `feed` gives pixels.
    pub fn keep(
        epoch: u32,
        feed: &Feed,
        run: &TrainRun,
        ground: &Ground,
        learner: &Learner,
        reporter: &Reporter,
        pulse: &mut Pulse,
    ) -> Result<Option<Self>, Halt> {
        let mirrored = run.spec.augment.horizontal_flip;
        let views_per_image = if mirrored { 2 } else { 1 };
        if learner.frozen().is_none() || run.spec.epochs_frozen_like(epoch) < views_per_image {
            return Ok(None);
        }
        let (items, first_row) = all_views(ground, mirrored);
        let mut rows: Option<Tensor> = None;
        let mut filled = 0;
        let batches = items.chunks(Self::AT_A_TIME).map(<[Item]>::to_vec).collect();
        let mut batches = feed.batches(batches);
        while let Some(batch) = batches.next(learner)? {
            pulse.beat()?;
            let activations = channels_innermost(&batch.boundary);
            let rows = match &rows {
                Some(rows) => rows,
                None => {
                    let mut shape = activations.size();
                    shape[0] = items.len() as i64;
                    let bytes = shape.iter().product::<i64>() as u64 * 4;
                    reporter.send(&WorkerMessage::log(about(items.len(), bytes)));
                    if bytes > Self::MAX_BYTES {
                        return Ok(None);
                    }
                    rows.insert(Tensor::empty(&shape, (Kind::Float, ground.device)))
                }
            };
            rows.narrow(0, filled, batch.images as i64).copy_(&activations);
            filled += batch.images as i64;
        }
        Ok(rows.map(|rows| Self { rows, first_row }))
    }

    /// Boundary activations of some views, in this order.
    pub fn of(&self, items: &[Item]) -> anyhow::Result<Tensor> {
        let row = |item: &Item| {
            let first = self.first_row.get(item.image).copied().flatten();
            first.map(|first| first + i64::from(item.mirrored))
        };
        let rows: Option<Vec<i64>> = items.iter().map(row).collect();
        let rows = rows
            .ok_or_else(|| anyhow::anyhow!("a picture is asked for that no activations were computed for"))?;
        let chosen = self
            .rows
            .index_select(0, &Tensor::from_slice(&rows).to_device(self.rows.device()));
        Ok(match chosen.dim() {
            4 => chosen.permute([0, 3, 1, 2]),
            _ => chosen,
        })
    }
}

/// Every view that the run may see, in the order of the images, and the row of each image's first.
fn all_views(ground: &Ground, mirrored: bool) -> (Vec<Item>, Vec<Option<i64>>) {
    let train = ground.data.train.iter().map(|sample| (sample, mirrored));
    let val = ground.data.val.iter().map(|sample| (sample, false));
    let mut samples: Vec<_> = train.chain(val).collect();
    samples.sort_by_key(|(sample, _)| sample.image);
    let mut items = Vec::new();
    let mut first_row = vec![None; ground.data.images.len()];
    for (sample, mirrored) in samples {
        first_row[sample.image] = Some(items.len() as i64);
        items.push(Item::new(*sample, false));
        if mirrored {
            items.push(Item::new(*sample, true));
        }
    }
    (items, first_row)
}

fn channels_innermost(activations: &Tensor) -> Tensor {
    match activations.dim() {
        4 => activations.permute([0, 2, 3, 1]),
        _ => activations.shallow_clone(),
    }
}

fn about(views: usize, bytes: u64) -> String {
    let megabytes = bytes.div_ceil(1 << 20);
    if bytes > Views::MAX_BYTES {
        return format!(
            "the frozen stages are computed anew in each epoch: the activations of {views} views would take {megabytes} MiB"
        );
    }
    format!(
        "the frozen stages are computed once for {views} views; their activations are kept in memory ({megabytes} MiB)"
    )
}
