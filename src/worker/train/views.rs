//! The frozen stages' activations of every view of every picture, computed once and kept for all epochs in which the same stages are
//! frozen, and for later jobs.
//!
//! Exact: with BatchNorm in eval mode what leaves a frozen stage depends on the view alone. A view is a picture as training may see it:
//! as it is, or mirrored. They are computed in an order and in batches that depend on the job only, so that a resumed run, and a later
//! one, has the same bits. Kept in a file within `max_activation_bytes`, where the epochs will use each view at least once on average.

use tch::Tensor;

use super::{
    checkpoint, feed::Feed, halt::Halt, learner::Learner, loader::Item, pulse::Pulse, setup::Ground,
};
use crate::{
    digest::Hasher,
    protocol::{TrainRun, UsedActivations, WorkerMessage},
    worker::{
        child::{Reporter, RunDir},
        rows::{Rows, RowsWriter},
    },
};

/// Name of the file in the run directory.
const FILE: &str = "activations.safetensors";
/// Part of every key: another way of computing, or of storing, takes another number.
const FORMAT: u32 = 1;

/// Boundary activations by view.
pub struct Views {
    /// `[H, W, C]` each, or `[features]` where the whole backbone is frozen.
    rows: Rows,
    /// The same on a card, where they have room there.
    on_device: Option<Tensor>,
    /// By place in the dataset's images: the row of the picture as it is; that of its mirror image, if there is one, follows.
    first_row: Vec<Option<usize>>,
    /// What the server is to know of them.
    pub used: UsedActivations,
}

impl Views {
    /// Most memory of a card that activations may take. A constant, not a share of what is free: what is computed must not depend on
    /// the moment.
    const MAX_DEVICE_BYTES: u64 = 1 << 30;
    /// Pictures that go through the frozen stages together.
    const AT_A_TIME: usize = 32;

    /// Boundary activations of some views, in this order.
    pub fn of(&self, items: &[Item]) -> anyhow::Result<Tensor> {
        let row = |item: &Item| {
            let first = self.first_row.get(item.image).copied().flatten();
            first.map(|first| first + usize::from(item.mirrored))
        };
        let rows: Option<Vec<usize>> = items.iter().map(row).collect();
        let rows = rows
            .ok_or_else(|| anyhow::anyhow!("a picture is asked for that no activations were computed for"))?;
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

/// What it takes to come by the activations.
pub struct Source<'a> {
    /// For this epoch and those with the same frozen stages.
    pub epoch: u32,
    pub feed: &'a Feed<'a>,
    pub run: &'a TrainRun,
    pub ground: &'a Ground,
    pub dir: &'a RunDir,
    pub learner: &'a Learner,
    pub reporter: &'a Reporter,
}

impl Source<'_> {
    /// Takes the activations from an earlier job, or computes them all, where they are worth keeping.
    ///
    /// # Errors
    /// [`Halt::Stopped`] where that takes too long for whoever set the flag.
    pub fn views(&self, pulse: &mut Pulse) -> Result<Option<Views>, Halt> {
        let mirrored = self.run.spec.augment.horizontal_flip;
        let views_per_image = if mirrored { 2 } else { 1 };
        let used_often = self.run.spec.epochs_frozen_like(self.epoch) >= views_per_image;
        if self.learner.frozen().is_none() || !used_often || self.run.max_activation_bytes == 0 {
            return Ok(None);
        }
        let (items, first_row) = all_views(self.ground, mirrored);
        let key = self.key(&items)?;
        let (rows, file) = if let Some(rows) = self.known(&key) {
            (rows, None)
        } else {
            match self.compute(&items, &key, pulse)? {
                Some(rows) => (rows, Some(self.dir.artifact(FILE)?)),
                None => return Ok(None),
            }
        };
        let device = self.ground.device;
        let fits = device.is_cuda() && rows.bytes() <= Views::MAX_DEVICE_BYTES;
        Ok(Some(Views {
            on_device: if fits { Some(rows.on(device)?) } else { None },
            rows,
            first_row,
            used: UsedActivations { key, file },
        }))
    }

    /// What an earlier job left, if it left these. What cannot be used is computed anew.
    fn known(&self, key: &str) -> Option<Rows> {
        let known = self.run.activations.iter().find(|known| known.key == key)?;
        match Rows::open(&known.path, key) {
            Ok(rows) => {
                let message = "the frozen stages' activations are those that an earlier job computed";
                self.reporter.send(&WorkerMessage::log(message));
                Some(rows)
            }
            Err(error) => {
                let message = format!(
                    "the activations of an earlier job cannot be used and are computed anew: {error}"
                );
                self.reporter
                    .send(&WorkerMessage::warning("activations_damaged", message));
                None
            }
        }
    }

    /// None where they would take more room than there is for them.
    fn compute(&self, items: &[Item], key: &str, pulse: &mut Pulse) -> Result<Option<Rows>, Halt> {
        let mut file: Option<RowsWriter> = None;
        let batches = items.chunks(Views::AT_A_TIME).map(<[Item]>::to_vec).collect();
        let mut batches = self.feed.batches(batches);
        while let Some(batch) = batches.next(self.learner)? {
            pulse.beat()?;
            let activations = channels_innermost(&batch.boundary);
            let file = match &mut file {
                Some(file) => file,
                None => {
                    let row = &activations.size()[1..];
                    let bytes = row.iter().product::<i64>() as u64 * items.len() as u64 * 4;
                    self.reporter
                        .send(&WorkerMessage::log(about(items.len(), bytes, self.run)));
                    if bytes > self.run.max_activation_bytes {
                        return Ok(None);
                    }
                    file.insert(RowsWriter::create(self.dir.file(FILE), key, items.len(), row)?)
                }
            };
            file.push(&activations)?;
        }
        Ok(match file {
            Some(file) => Some(file.finish(key)?),
            None => None,
        })
    }

    /// What the rows' bits depend on, as a digest: the pictures and their views, the recipe, the frozen stages and their weights, the
    /// machine.
    fn key(&self, items: &[Item]) -> anyhow::Result<String> {
        let run = self.run;
        let mut hasher = Hasher::new();
        let about = serde_json::json!({
            "format": FORMAT,
            "dataset": run.dataset.lineage,
            "pack_side": run.dataset.pack_side,
            "recipe": run.spec.preprocessing(),
            "architecture": run.spec.backbone.architecture,
            "frozen": run.spec.freeze,
            "machine": self.ground.machine,
        });
        hasher.update(&serde_json::to_vec(&about)?);
        hasher.update(checkpoint::content(&self.learner.staying())?.as_bytes());
        for item in items {
            hasher.update(format!("{} {}\n", item.image, item.mirrored).as_bytes());
        }
        Ok(hasher.finish())
    }
}

/// Every view that the run may see, in the order of the images, and the row of each image's first.
fn all_views(ground: &Ground, mirrored: bool) -> (Vec<Item>, Vec<Option<usize>>) {
    let train = ground.data.train.iter().map(|sample| (sample, mirrored));
    let val = ground.data.val.iter().map(|sample| (sample, false));
    let mut samples: Vec<_> = train.chain(val).collect();
    samples.sort_by_key(|(sample, _)| sample.image);
    let mut items = Vec::new();
    let mut first_row = vec![None; ground.data.images.len()];
    for (sample, mirrored) in samples {
        first_row[sample.image] = Some(items.len());
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

fn about(views: usize, bytes: u64, run: &TrainRun) -> String {
    let megabytes = bytes.div_ceil(1 << 20);
    if bytes > run.max_activation_bytes {
        return format!(
            "the frozen stages are computed anew in each epoch: the activations of {views} views would take {megabytes} MiB, more than \
             the server's `--max-activation-bytes`"
        );
    }
    format!(
        "the frozen stages are computed once for {views} views; their activations are kept ({megabytes} MiB)"
    )
}
