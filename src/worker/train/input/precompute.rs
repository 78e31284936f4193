//! Obtaining the frozen stages' activations: from an earlier job, or computed for every view.

use tch::Tensor;

use super::{feed::Feed, loader::Item, views::CachedActivations};
use crate::{
    domain::spec::Stage,
    files::digest::Hasher,
    protocol::{TrainRun, UsedActivations, WorkerMessage},
    worker::{
        augment::View,
        files::rows::{Rows, RowsWriter},
        process::{child::Reporter, run_dir::RunDir},
        train::{
            checkpoints::checkpoint,
            context::TrainContext,
            learner::Learner,
            progress::{halt::Halt, pulse::Heartbeat},
        },
    },
};

/// Part of every key: changed whenever computation (including augmentation) or storage changes.
const FORMAT: u32 = 5;

/// Batches for `epoch` and those with the same frozen stages, also of the images that go along if there are any. Computes the frozen stages'
/// activations for all views at once if they are to be cached.
///
/// # Errors
/// [`Halt::Stopped`] if the run was asked to stop meanwhile.
pub fn feed<'a>(
    epoch: u32,
    run: &TrainRun,
    context: &'a TrainContext,
    dir: &RunDir,
    learner: &Learner,
    reporter: &Reporter,
    heartbeat: &mut Heartbeat,
) -> Result<Feed<'a>, Halt> {
    let feed = Feed::from_pixels(run, context);
    let source = Source {
        epoch,
        feed: &feed,
        run,
        context,
        dir,
        learner,
        reporter,
    };
    let activations = source.activations(heartbeat)?;
    let unlabelled = match context.unlabelled.as_deref() {
        Some(unlabelled) => {
            let (run, context, dir) = (&unlabelled.run, &unlabelled.context, &unlabelled.dir);
            Some(self::feed(
                epoch, run, context, dir, learner, reporter, heartbeat,
            )?)
        }
        None => None,
    };
    Ok(feed.with_activations(activations).with_unlabelled(unlabelled))
}

/// What is needed to obtain the activations.
struct Source<'a> {
    /// They are for this epoch and those with the same frozen stages.
    epoch: u32,
    feed: &'a Feed<'a>,
    run: &'a TrainRun,
    context: &'a TrainContext,
    dir: &'a RunDir,
    learner: &'a Learner,
    reporter: &'a Reporter,
}

impl Source<'_> {
    /// Reuses the activations of an earlier job or computes all of them, if caching them pays off.
    ///
    /// # Errors
    /// [`Halt::Stopped`] if the run was asked to stop meanwhile.
    fn activations(&self, heartbeat: &mut Heartbeat) -> Result<Option<CachedActivations>, Halt> {
        let items = match items(self.epoch, self.run, self.context) {
            Ok(items) => items,
            Err(NotKept::NoRepeatedViews) => {
                self.reporter.send(&WorkerMessage::log(NO_REPEATED_VIEWS));
                return Ok(None);
            }
            Err(NotKept::NoUse) => return Ok(None),
        };
        // A backbone of which nothing is trained is known by the file that models share.
        let weights = match self.learner.base()? {
            Some(base) => base.sha256.clone(),
            None => checkpoint::content(&self.learner.frozen_state()).map_err(anyhow::Error::from)?,
        };
        let key = key(self.run, self.context, self.learner.frozen(), &weights, &items)?;
        let (rows, file) = if let Some(rows) = self.known(&key) {
            (rows, None)
        } else {
            match self.compute(&items, &key, heartbeat)? {
                Some(rows) => (rows, Some(self.dir.artifact(&file_name(&key))?)),
                None => return Ok(None),
            }
        };
        let device = self.context.device;
        let fits = device.is_cuda() && rows.bytes() <= CachedActivations::MAX_DEVICE_BYTES;
        Ok(Some(CachedActivations {
            on_device: if fits { Some(rows.on(device)?) } else { None },
            rows,
            row: items
                .iter()
                .enumerate()
                .map(|(row, item)| ((item.image, item.view), row))
                .collect(),
            used: UsedActivations { key, file },
        }))
    }

    /// The activations of an earlier job, if there are matching ones. Unusable ones are computed again.
    fn known(&self, key: &str) -> Option<Rows> {
        match opened(self.run, key)? {
            Ok(rows) => {
                let message = "using the frozen stages' activations computed by an earlier job";
                self.reporter.send(&WorkerMessage::log(message));
                Some(rows)
            }
            Err(error) => {
                let message = format!(
                    "the activations of an earlier job cannot be used and are computed again: {error}"
                );
                self.reporter
                    .send(&WorkerMessage::warning("activations_damaged", message));
                None
            }
        }
    }

    /// None where they would exceed the space available.
    fn compute(&self, items: &[Item], key: &str, heartbeat: &mut Heartbeat) -> Result<Option<Rows>, Halt> {
        let mut file: Option<RowsWriter> = None;
        let batches = items
            .chunks(CachedActivations::batch_size(self.context.device))
            .map(<[Item]>::to_vec)
            .collect();
        let mut batches = self.feed.batches(batches);
        while let Some(batch) = batches.next(self.learner)? {
            heartbeat.beat()?;
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
}

/// Why activations are not kept.
enum NotKept {
    NoRepeatedViews,
    NoUse,
}

/// The views whose activations are kept for an epoch.
fn items(epoch: u32, run: &TrainRun, context: &TrainContext) -> Result<Vec<Item>, NotKept> {
    let spec = &run.spec;
    // Teachers see the images, not the activations.
    let has_teachers = spec.distill.is_some();
    if spec.last_frozen(epoch).is_none() || run.max_activation_bytes == 0 || has_teachers {
        return Err(NotKept::NoUse);
    }
    let views = context.plan.views.all().filter(|_| !spec.augment.mixes());
    let views = views.ok_or(NotKept::NoRepeatedViews)?;
    if (spec.epochs_frozen_like(epoch) as usize) < views.len() {
        return Err(NotKept::NoUse);
    }
    Ok(all_views(context, &views))
}

/// Whether an earlier job has left all activations of a run of whose backbone nothing is trained: then it is not needed. `base` is the digest
/// of its file.
pub fn are_known(run: &TrainRun, context: &TrainContext, base: &str) -> bool {
    let Ok(items) = items(1, run, context) else {
        return false;
    };
    let last = run.spec.backbone.architecture.last_stage();
    let key = key(run, context, Some(last), base, &items);
    key.is_ok_and(|key| opened(run, &key).is_some_and(|rows| rows.is_ok()))
}

fn opened(run: &TrainRun, key: &str) -> Option<anyhow::Result<Rows>> {
    let known = run.activations.iter().find(|known| known.key == key)?;
    Some(Rows::open(&known.path, key))
}

/// A digest of everything that the rows' bits depend on: the images and their views, the preprocessing, the frozen stages and their
/// weights, the machine. Not of the labels, so that another version of the dataset with the same images has the same rows.
fn key(
    run: &TrainRun,
    context: &TrainContext,
    frozen: Option<Stage>,
    weights: &str,
    items: &[Item],
) -> anyhow::Result<String> {
    let is_drawn = |item: &Item| matches!(item.view, View::Drawn(_));
    let drawn_by = items
        .iter()
        .any(is_drawn)
        .then_some((&run.spec.augment, run.spec.seed));
    let mut hasher = Hasher::new();
    let mut about = serde_json::json!({
        "format": FORMAT,
        "dataset": run.common.dataset.lineage.id,
        "pack_side": run.common.dataset.pack_side(),
        "recipe": run.spec.preprocessing(),
        "architecture": run.spec.backbone.architecture,
        "frozen": frozen,
        "machine": context.machine,
        "drawn_by": drawn_by,
    });
    // Only where it says something.
    if let Some(used_bits) = context.data.used_bits() {
        about["used_bits"] = used_bits.get().into();
    }
    hasher.update(&serde_json::to_vec(&about)?);
    hasher.update(weights.as_bytes());
    for item in items {
        let image = &context.data.images[item.image];
        // What is drawn for a view depends on the image's id.
        let id = if is_drawn(item) {
            image.id.to_string()
        } else {
            String::new()
        };
        hasher.update(format!("{} {id} {}\n", image.sha256, item.view).as_bytes());
    }
    Ok(hasher.finish())
}

/// In the run directory. When the boundary moves, another file is created while the previous one is still in use.
fn file_name(key: &str) -> String {
    format!("activations-{}.safetensors", &key[..16])
}

/// Every view that the run may use, in the order of the images.
fn all_views(context: &TrainContext, views: &[View]) -> Vec<Item> {
    let train = context.data.train.iter().map(|sample| (*sample, views));
    let val = context
        .data
        .val
        .iter()
        .map(|sample| (*sample, &[View::PLAIN][..]));
    let mut samples: Vec<_> = train.chain(val).collect();
    samples.sort_by_key(|(sample, _)| sample.image);
    let views = samples.into_iter().flat_map(|(sample, views)| {
        let id = context.data.images[sample.image].id;
        views.iter().map(move |view| Item::new(sample, id, *view))
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
            "the frozen stages are computed again in each epoch: the activations of {views} views would take {megabytes} MiB, more than \
             the server's `--max-activation-bytes`"
        );
    }
    format!(
        "the frozen stages are computed once for {views} views; their activations are kept ({megabytes} MiB)"
    )
}

/// For runs that cannot reuse activations because no view comes twice.
const NO_REPEATED_VIEWS: &str = "the frozen stages are computed again in each epoch, because each has different images; `augment.views` would \
                                 draw a fixed number of views of each image, without mixing";
