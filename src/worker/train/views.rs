//! The frozen stages' activations of every view of every picture, computed once and kept for all epochs.
//!
//! Exact: with BatchNorm in eval mode what leaves a frozen stage depends on the view alone. A view is a picture in one of the looks that
//! training may give it. They are computed in an order and in batches that depend on the job only, so that a resumed run computes the
//! same bits again. Kept where there is a fixed number of looks, where they fit into [`Views::MAX_BYTES`], and where the epochs will use
//! each view at least once on average. Mixed pictures are never kept: what leaves the frozen stages is no mixture of what leaves them
//! for each.

use std::collections::HashMap;

use tch::{Kind, Tensor};

use super::{feed::Feed, halt::Halt, learner::Learner, loader::Item, pulse::Pulse, setup::Ground};
use crate::{
    protocol::{TrainRun, WorkerMessage},
    worker::{augment::Look, child::Reporter},
};

/// Boundary activations by view.
pub struct Views {
    /// `[views, H, W, C]`, or `[views, features]` where the whole backbone is frozen.
    rows: Tensor,
    /// By place in the dataset's images, and look.
    row: HashMap<(usize, Look), i64>,
}

impl Views {
    /// Most memory that activations may take. A constant, not a share of what is free: whether they are kept must not depend on the
    /// moment.
    const MAX_BYTES: u64 = 1 << 30;
    /// Pictures that go through the frozen stages together.
    const AT_A_TIME: usize = 32;

    /// Computes all activations where they are worth keeping; `feed` gives pixels.
    pub fn keep(
        feed: &Feed,
        run: &TrainRun,
        ground: &Ground,
        learner: &Learner,
        reporter: &Reporter,
        pulse: &mut Pulse,
    ) -> Result<Option<Self>, Halt> {
        if !learner.has_frozen_stages() {
            return Ok(None);
        }
        let looks = ground.plan.looks.all().filter(|_| !run.spec.augment.mixes());
        let Some(looks) = looks else {
            reporter.send(&WorkerMessage::log(ENDLESS));
            return Ok(None);
        };
        if (run.spec.epochs as usize) < looks.len() {
            return Ok(None);
        }
        let items = all_views(ground, &looks);
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
        let row = |(item, row): (&Item, i64)| ((item.image, item.look), row);
        Ok(rows.map(|rows| Self {
            rows,
            row: items.iter().zip(0..).map(row).collect(),
        }))
    }

    /// Boundary activations of some views, in this order.
    pub fn of(&self, items: &[Item]) -> anyhow::Result<Tensor> {
        let row = |item: &Item| self.row.get(&(item.image, item.look)).copied();
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

/// Every view that the run may see, in the order of the images.
fn all_views(ground: &Ground, looks: &[Look]) -> Vec<Item> {
    let train = ground.data.train.iter().map(|sample| (*sample, looks));
    let val = ground.data.val.iter().map(|sample| (*sample, &[Look::PLAIN][..]));
    let mut samples: Vec<_> = train.chain(val).collect();
    samples.sort_by_key(|(sample, _)| sample.image);
    let views = samples.into_iter().flat_map(|(sample, looks)| {
        let id = ground.data.images[sample.image].id;
        looks.iter().map(move |look| Item::new(sample, id, *look))
    });
    views.collect()
}

/// Said where activations are not kept because no view comes twice.
const ENDLESS: &str = "the frozen stages are computed anew in each epoch, because each has new pictures; `augment.views` would draw a \
                       fixed number for each image, without mixing";

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
