//! Coming by the frozen stages' activations: from an earlier job, or computed for every view.

use tch::Tensor;

use super::{feed::Feed, loader::Item, views::Views};
use crate::{
    files::digest::Hasher,
    protocol::{TrainRun, UsedActivations, WorkerMessage},
    worker::{
        augment::Look,
        files::rows::{Rows, RowsWriter},
        process::{child::Reporter, run_dir::RunDir},
        train::{
            checkpoints::checkpoint,
            context::Ground,
            learner::Learner,
            progress::{halt::Halt, pulse::Pulse},
        },
    },
};

/// Part of every key: another way of computing (augmentation too), or of storing, takes another number.
const FORMAT: u32 = 4;

/// Batches for `epoch` and those with the same frozen stages. Computes the frozen stages' activations for all views at once where they are
/// to be kept.
///
/// # Errors
/// [`Halt::Stopped`] where that takes too long for whoever set the flag.
pub fn feed<'a>(
    epoch: u32,
    run: &TrainRun,
    ground: &'a Ground,
    dir: &RunDir,
    learner: &Learner,
    reporter: &Reporter,
    pulse: &mut Pulse,
) -> Result<Feed<'a>, Halt> {
    let feed = Feed::from_pixels(run, ground);
    let source = Source {
        epoch,
        feed: &feed,
        run,
        ground,
        dir,
        learner,
        reporter,
    };
    let views = source.views(pulse)?;
    Ok(feed.keeping(views))
}

/// What it takes to come by the activations.
struct Source<'a> {
    /// They are for this epoch and those with the same frozen stages.
    epoch: u32,
    feed: &'a Feed<'a>,
    run: &'a TrainRun,
    ground: &'a Ground,
    dir: &'a RunDir,
    learner: &'a Learner,
    reporter: &'a Reporter,
}

impl Source<'_> {
    /// Takes the activations from an earlier job, or computes them all, where they are worth keeping.
    ///
    /// # Errors
    /// [`Halt::Stopped`] where that takes too long for whoever set the flag.
    fn views(&self, pulse: &mut Pulse) -> Result<Option<Views>, Halt> {
        if self.learner.frozen().is_none() || self.run.max_activation_bytes == 0 {
            return Ok(None);
        }
        let spec = &self.run.spec;
        let Some(looks) = self.ground.plan.looks.all().filter(|_| !spec.augment.mixes()) else {
            self.reporter.send(&WorkerMessage::log(ENDLESS));
            return Ok(None);
        };
        if (spec.epochs_frozen_like(self.epoch) as usize) < looks.len() {
            return Ok(None);
        }
        let items = all_views(self.ground, &looks);
        let key = self.key(&items)?;
        let (rows, file) = if let Some(rows) = self.known(&key) {
            (rows, None)
        } else {
            match self.compute(&items, &key, pulse)? {
                Some(rows) => (rows, Some(self.dir.artifact(&file_name(&key))?)),
                None => return Ok(None),
            }
        };
        let device = self.ground.device;
        let fits = device.is_cuda() && rows.bytes() <= Views::MAX_DEVICE_BYTES;
        Ok(Some(Views {
            on_device: if fits { Some(rows.on(device)?) } else { None },
            rows,
            row: items
                .iter()
                .enumerate()
                .map(|(row, item)| ((item.image, item.look), row))
                .collect(),
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
                    file.insert(RowsWriter::create(
                        self.dir,
                        &file_name(key),
                        key,
                        items.len(),
                        row,
                    )?)
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
        let is_drawn = |item: &Item| matches!(item.look, Look::Drawn(_));
        let drawn_by = items
            .iter()
            .any(is_drawn)
            .then_some((&run.spec.augment, run.spec.seed));
        let mut hasher = Hasher::new();
        let about = serde_json::json!({
            "format": FORMAT,
            "dataset": run.common.dataset.lineage.identity(),
            "pack_side": run.common.dataset.pack_side(),
            "recipe": run.spec.preprocessing(),
            "architecture": run.spec.backbone.architecture,
            "frozen": self.learner.frozen(),
            "machine": self.ground.machine,
            "drawn_by": drawn_by,
        });
        hasher.update(&serde_json::to_vec(&about)?);
        hasher.update(checkpoint::content(&self.learner.staying())?.as_bytes());
        for item in items {
            hasher.update(format!("{} {}\n", item.image, item.look).as_bytes());
        }
        Ok(hasher.finish())
    }
}

/// In the run directory. When the boundary moves there is another file, while the one before is still in use.
fn file_name(key: &str) -> String {
    format!("activations-{}.safetensors", &key[..16])
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

/// Said where activations are not kept because no view comes twice.
const ENDLESS: &str = "the frozen stages are computed anew in each epoch, because each has new pictures; `augment.views` would draw a \
                       fixed number for each image, without mixing";
