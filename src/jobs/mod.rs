//! Background work: the job queue, ingest, exports, sweeping and so on, all in supervised children.
//!
//! `bin/finetuned.rs` starts it, and `http` gets from it what only it knows (devices, logs). Reading order: `scheduler` claims jobs,
//! `attempt` (with `prepare` and `settle`) and `ingest` start children and record how they ended, `supervisor` watches one child,
//! `recorder` stores its messages. `leftovers` runs before all of them. Nothing here opens an archive or a tensor, and all lasting state is
//! in the database.

mod blocking;
mod children;
mod context;
mod datasets;
mod disk;
mod disk_waits;
pub mod gc;
mod kept;
mod locks;
mod models;
mod queue;
mod retention;
mod retry;
mod sinks;
mod sweeper;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, PoisonError},
};

use tokio::sync::watch;

use self::{
    blocking::blocking,
    children::{leftovers::Leftovers, paths::ScratchDir},
    context::Context,
    datasets::revise::Change,
};
pub use self::{
    context::{JobsContext, UnusedDatasets},
    datasets::{
        adding::{Added, Labels},
        batch::{Batch, Packed},
        revise::{Revised, Target},
    },
    models::{exports::Exported, importing::Import},
    queue::slots::DeviceState,
    sinks::{SigningSecret, Webhooks},
};
use crate::{
    domain::{
        datasets::{dataset::Dataset, reading::ReadOptions, split::SplitSpec, understanding::Understanding},
        id::{DatasetId, JobId},
        jobs::job::WaitingFor,
        models::{export::ExportSpec, model::Model},
        spec::PreviewSpec,
    },
    error::Result,
    manifest::revision::ImageEdit,
    protocol::Device,
    store::{ImportedModel, StoredSegment},
};

/// The background work of a server. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Context>);

/// Starts everything and returns at once; must be called in a tokio runtime. It runs until the context's `shutdown` fires.
pub fn start(context: JobsContext) -> Jobs {
    let context = Arc::new(Context::new(context));
    // Before this server creates anything there.
    let leftovers = Leftovers::find(&context.paths);
    spawn(&context, |context| leftovers.clear(context));
    spawn(&context, queue::devices::run);
    spawn(&context, queue::scheduler::run);
    spawn(&context, datasets::ingest::run);
    spawn(&context, sweeper::run);
    spawn(&context, datasets::upgrade::run);
    spawn(&context, disk::run);
    spawn(&context, sinks::tell_webhooks);
    spawn(&context, sinks::log_to_mlflow);
    context.tasks.close();
    Jobs(context)
}

fn spawn<F>(context: &Arc<Context>, task: impl FnOnce(Arc<Context>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    context.tasks.spawn(task(context.clone()));
}

impl Jobs {
    /// Every device and its job; empty until the worker has listed the devices.
    pub fn devices(&self) -> Vec<DeviceState> {
        self.0.slots.states()
    }

    /// The devices, as a channel: empty until the worker has listed them, then fixed.
    pub fn known_devices(&self) -> watch::Receiver<Vec<Device>> {
        self.0.slots.known()
    }

    /// Augments images of a dataset as a training job would; returns a PNG.
    ///
    /// # Errors
    /// Too many at once, a timeout, or a failure of the worker.
    pub async fn preview(&self, dataset: Dataset, spec: PreviewSpec) -> Result<Vec<u8>> {
        datasets::preview::preview(&self.0, dataset, spec).await
    }

    /// What an archive would be read as with these options.
    ///
    /// # Errors
    /// `archive-refused`, a timeout, or a failure of the worker.
    pub async fn understand(&self, archive: PathBuf, options: ReadOptions) -> Result<Understanding> {
        datasets::understand::understand(&self.0, archive, options).await
    }

    /// A thumbnail of an image: a JPEG whose longer side has at most `side` pixels. `segment` is the image's segment.
    ///
    /// # Errors
    /// Failures of the worker and of the disk.
    pub async fn thumbnail(
        &self,
        dataset: DatasetId,
        segment: StoredSegment,
        image: u32,
        side: u32,
    ) -> Result<Vec<u8>> {
        datasets::thumbnails::thumbnail(&self.0, dataset, segment, image, side).await
    }

    /// Exports a model.
    ///
    /// # Errors
    /// Too many at once, a timeout, no disk space, or a failure of the worker.
    pub async fn export(&self, model: &Model, spec: ExportSpec) -> Result<Exported> {
        models::exports::export(&self.0, model, spec).await
    }

    /// Relabels, moves or removes images; returns the dataset at its new version.
    ///
    /// # Errors
    /// `version-changed`, `dataset-not-ready`, and what is invalid in the edits.
    pub async fn edit_images(&self, target: Target, edits: Vec<(u32, ImageEdit)>) -> Result<Dataset> {
        let pin = self.0.blobs.pin().await;
        Ok(
            datasets::revise::revise(&self.0, target, Change::Edit(edits), &pin)
                .await?
                .dataset,
        )
    }

    /// Assigns every image to a split again; returns the dataset, and whether there is a new version.
    ///
    /// # Errors
    /// `version-changed`, `dataset-not-ready`.
    pub async fn divide(&self, target: Target, spec: SplitSpec) -> Result<(Dataset, bool)> {
        let pin = self.0.blobs.pin().await;
        let revised = datasets::revise::revise(&self.0, target, Change::Split(spec), &pin).await?;
        Ok((revised.dataset, revised.changed))
    }

    /// Refuses images that could not be added, before they are received.
    ///
    /// # Errors
    /// As [`Jobs::add_images`].
    pub fn check_addition(&self, dataset: &Dataset, target: &Target, labels: &Labels) -> Result<()> {
        datasets::revise::check_target(dataset, target)?;
        datasets::revise::check_labels(dataset, labels.class.as_deref())
    }

    /// Where images are stored until [`Jobs::add_images`].
    pub async fn begin_batch(&self) -> Result<Batch> {
        let runs = self.0.paths.runs();
        let dir = blocking(move || Ok(ScratchDir::new(&runs)?)).await?;
        Ok(Batch::begin(dir).await?)
    }

    /// Reads images and adds the usable ones.
    ///
    /// # Errors
    /// `version-changed`, `dataset-not-ready`, and invalid class or split.
    pub async fn add_images(&self, target: Target, packed: Packed, labels: Labels) -> Result<Added> {
        datasets::adding::add(&self.0, target, packed, labels).await
    }

    /// Creates a model from an uploaded file, or returns the existing model with the same contents.
    ///
    /// # Errors
    /// What is invalid in the file; too many at once, a timeout, or a failure of the worker.
    pub async fn import_model(&self, import: Import<'_>) -> Result<ImportedModel> {
        models::importing::import(&self.0, import).await
    }

    /// Whom the server tells how jobs and datasets ended.
    pub fn webhooks(&self) -> &Webhooks {
        &self.0.webhooks
    }

    /// What a running job is waiting for, if anything.
    pub fn waiting_for(&self, job: &JobId) -> Option<WaitingFor> {
        self.0.waits.contains(job).then_some(WaitingFor::Disk)
    }

    /// What the ingest of a dataset is waiting for, if anything.
    pub fn reading_waits_for(&self, dataset: &DatasetId) -> Option<WaitingFor> {
        let waits = &self.0.waits;
        (waits.contains(dataset) || waits.contains(&datasets::ingest::ARCHIVES)).then_some(WaitingFor::Disk)
    }

    /// The directory of an attempt. It exists while the job is unfinished.
    pub fn run_dir(&self, job: JobId, attempt: u32) -> PathBuf {
        self.0.paths.run_dir(&job, attempt)
    }

    /// The log of all attempts of a job: UTF-8, the last `limits.max_log_bytes` of it at most. It may not exist yet.
    pub fn log_path(&self, job: JobId) -> PathBuf {
        self.0.paths.log(&job)
    }

    /// The log of a dataset's ingest.
    pub fn dataset_log_path(&self, dataset: DatasetId) -> PathBuf {
        self.0.paths.log(&dataset)
    }

    /// Must be called after a deletion, so that the files are removed soon and not within the hour.
    pub fn sweep_soon(&self) {
        self.0.sweep.notify_one();
    }

    /// Datasets that no job and no model has used, as of the last sweep.
    pub fn unused_datasets(&self) -> UnusedDatasets {
        *self.0.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After `shutdown` has fired, returns when every child has ended and the state of its job is recorded.
    pub async fn drained(&self) {
        self.0.tasks.wait().await;
    }
}
