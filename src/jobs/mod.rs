//! Work in the background: the queue's claim loop, the reading of uploaded archives, the sweeping up, all in supervised children.
//!
//! `bin/finetuned.rs` starts it, `http` asks it for what only it knows (devices, logs). Reading order: `scheduler` claims jobs,
//! `attempt` (with `prepare` and `settle`) and `ingest` say what a child is to do and what its end means, `supervisor` watches one child, `recorder` writes down
//! what it tells. Nothing here opens an archive or a tensor, and no state here outlives the process: the database has it all.

mod activations;
mod attempt;
mod context;
mod devices;
mod failure;
mod ingest;
mod insist;
mod packs;
mod paths;
mod prepare;
mod preview;
mod recorder;
mod scheduler;
mod settle;
mod slots;
mod supervisor;
mod sweeper;
#[cfg(test)]
mod tests;
mod upgrade;
mod weights;

use std::{future::Future, path::PathBuf, sync::Arc};

use tokio::sync::watch;

use self::context::Context;
pub use self::{context::JobsContext, slots::DeviceState};
use crate::{
    domain::{dataset::Dataset, spec::PreviewSpec},
    error::Result,
    id::{DatasetId, JobId},
    protocol::Device,
};

/// The running background work of a server. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Context>);

/// Starts everything and returns at once; call it in a tokio runtime. It runs until the context's `shutdown` fires.
pub fn start(context: JobsContext) -> Jobs {
    let context = Arc::new(Context::new(context));
    spawn(&context, devices::run);
    spawn(&context, scheduler::run);
    spawn(&context, ingest::run);
    spawn(&context, sweeper::run);
    spawn(&context, upgrade::run);
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

    /// Draws pictures of a dataset as a job would train on them; a PNG.
    ///
    /// # Errors
    /// Too many at once, too slow, or a failure of the worker.
    pub async fn preview(&self, dataset: Dataset, spec: PreviewSpec) -> Result<Vec<u8>> {
        preview::preview(&self.0, dataset, spec).await
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
