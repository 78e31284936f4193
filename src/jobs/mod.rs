//! Work in the background: the queue's claim loop, the reading of uploaded archives, the sweeping up, all in supervised children.
//!
//! `bin/finetuned.rs` starts it, `http` asks it for what only it knows (devices, logs). Reading order: `scheduler` claims jobs,
//! `attempt` (with `prepare` and `settle`) and `ingest` say what a child is to do and what its end means, `supervisor` watches one child, `recorder` writes down
//! what it tells. `leftovers` goes before all of it. Nothing here opens an archive or a tensor, and no state here outlives the process: the
//! database has it all.

mod blocking;
mod children;
mod context;
mod datasets;
mod disk;
mod disk_waits;
mod insist;
mod kept;
mod locks;
mod models;
mod queue;
mod sweeper;
#[cfg(test)]
mod tests;

use std::{future::Future, path::PathBuf, sync::Arc};

use tokio::sync::watch;

use self::{
    blocking::blocking,
    children::{leftovers::Leftovers, paths::Passing},
    context::Context,
    datasets::revise::Change,
};
pub use self::{
    context::JobsContext,
    datasets::{
        adding::{Added, Labels},
        batch::{Batch, Packed},
        revise::{Revised, Target},
    },
    models::{exports::Exported, importing::Import},
    queue::slots::DeviceState,
};
use crate::{
    domain::{
        datasets::{dataset::Dataset, split::SplitSpec},
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

/// The running background work of a server. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Context>);

/// Starts everything and returns at once; call it in a tokio runtime. It runs until the context's `shutdown` fires.
pub fn start(context: JobsContext) -> Jobs {
    let context = Arc::new(Context::new(context));
    // Before anything of this server's can lie there.
    let leftovers = Leftovers::find(&context.paths);
    spawn(&context, |context| leftovers.clear(context));
    spawn(&context, queue::devices::run);
    spawn(&context, queue::scheduler::run);
    spawn(&context, datasets::ingest::run);
    spawn(&context, sweeper::run);
    spawn(&context, datasets::upgrade::run);
    spawn(&context, disk::run);
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
    /// Every device and the job on it; empty until the worker has told what there is.
    pub fn devices(&self) -> Vec<DeviceState> {
        self.0.slots.states()
    }

    /// The devices as they become known: empty until the worker has told what there is, then fixed.
    pub fn known_devices(&self) -> watch::Receiver<Vec<Device>> {
        self.0.slots.known()
    }

    /// Draws images of a dataset as a job would train on them; a PNG.
    ///
    /// # Errors
    /// Too many at once, too slow, or a failure of the worker.
    pub async fn preview(&self, dataset: Dataset, spec: PreviewSpec) -> Result<Vec<u8>> {
        datasets::preview::preview(&self.0, dataset, spec).await
    }

    /// A thumbnail of an image, JPEG, its longer side at most `side` pixels long. `segment` is the one that the image lies in.
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

    /// A model as other programs take it.
    ///
    /// # Errors
    /// Too many at once, too slow, no room, or a failure of the worker.
    pub async fn export(&self, model: &Model, spec: ExportSpec) -> Result<Exported> {
        models::exports::export(&self.0, model, spec).await
    }

    /// Labels images anew, moves them or takes them out: the dataset at the version that this makes.
    ///
    /// # Errors
    /// `version-changed`, `dataset-not-ready`, and what is wrong with the edits.
    pub async fn edit_images(&self, target: Target, edits: Vec<(u32, ImageEdit)>) -> Result<Dataset> {
        let pin = self.0.blobs.pin().await;
        Ok(
            datasets::revise::revise(&self.0, target, Change::Edit(edits), &pin)
                .await?
                .dataset,
        )
    }

    /// Gives every image its part anew; the dataset after it, and whether there is a new version.
    ///
    /// # Errors
    /// `version-changed`, `dataset-not-ready`.
    pub async fn divide(&self, target: Target, spec: SplitSpec) -> Result<(Dataset, bool)> {
        let pin = self.0.blobs.pin().await;
        let revised = datasets::revise::revise(&self.0, target, Change::Split(spec), &pin).await?;
        Ok((revised.dataset, revised.changed))
    }

    /// Refuses images that could not be added, before they are sent.
    ///
    /// # Errors
    /// As [`Jobs::add_images`].
    pub fn check_addition(&self, dataset: &Dataset, target: &Target, labels: &Labels) -> Result<()> {
        datasets::revise::check_target(dataset, target)?;
        datasets::revise::check_labels(dataset, labels.class.as_deref())
    }

    /// Where images go on their way to [`Jobs::add_images`].
    pub async fn begin_batch(&self) -> Result<Batch> {
        let runs = self.0.paths.runs();
        let dir = blocking(move || Ok(Passing::new(&runs)?)).await?;
        Ok(Batch::begin(dir).await?)
    }

    /// Reads images and adds those that can be used.
    ///
    /// # Errors
    /// `version-changed`, `dataset-not-ready`, and what is wrong with the labels.
    pub async fn add_images(&self, target: Target, packed: Packed, labels: Labels) -> Result<Added> {
        datasets::adding::add(&self.0, target, packed, labels).await
    }

    /// Makes a model of a file that somebody brought, or says which one it is already.
    ///
    /// # Errors
    /// What is wrong with the file; too many at once, too slow, or a failure of the worker.
    pub async fn import_model(&self, import: Import<'_>) -> Result<ImportedModel> {
        models::importing::import(&self.0, import).await
    }

    /// What a running job waits for, if it does.
    pub fn waiting_for(&self, job: &JobId) -> Option<WaitingFor> {
        self.0.waits.contains(job).then_some(WaitingFor::Disk)
    }

    /// What the reading of a dataset's archive waits for, if it does.
    pub fn reading_waits_for(&self, dataset: &DatasetId) -> Option<WaitingFor> {
        let waits = &self.0.waits;
        (waits.contains(dataset) || waits.contains(&datasets::ingest::ARCHIVES)).then_some(WaitingFor::Disk)
    }

    /// The folder of an attempt. It is there while the job is unfinished.
    pub fn run_dir(&self, job: JobId, attempt: u32) -> PathBuf {
        self.0.paths.run_dir(&job, attempt)
    }

    /// The log of all attempts of a job: UTF-8, at most `limits.max_log_bytes`, the end of what was written. It may not be there yet.
    pub fn log_path(&self, job: JobId) -> PathBuf {
        self.0.paths.log(&job)
    }

    /// The same for the reading of a dataset's archive.
    pub fn dataset_log_path(&self, dataset: DatasetId) -> PathBuf {
        self.0.paths.log(&dataset)
    }

    /// To be called after something was deleted, so that its files go soon and not within the hour.
    pub fn sweep_soon(&self) {
        self.0.sweep.notify_one();
    }

    /// Returns when, after `shutdown` has fired, every child is gone and what became of its job is written down.
    pub async fn drained(&self) {
        self.0.tasks.wait().await;
    }
}
