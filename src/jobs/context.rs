//! State that all background work shares.

use std::{path::PathBuf, sync::Mutex};

use tokio::sync::{Notify, Semaphore, SetOnce};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    children::paths::Paths, disk_waits::DiskWaits, locks::Locks, queue::slots::Slots, sinks::Webhooks,
};
use crate::{
    blobs::Blobs,
    config::Config,
    domain::id::{DatasetId, ModelId},
    process::log::Log,
    store::Store,
};

/// Concurrency of small background work, low enough to leave the machine to others.
const MAX_INGEST_WORKERS: usize = 2;
const MAX_THUMBNAIL_WORKERS: usize = 2;

/// Datasets that no job and no model has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnusedDatasets {
    pub count: u64,
    /// Of their archives, and of images that were added.
    pub bytes: u64,
}

/// What background work needs from the server.
pub struct JobsContext {
    pub store: Store,
    pub blobs: Blobs,
    pub config: Config,
    /// The worker program, see [`Config::worker_program`].
    pub worker: PathBuf,
    /// When it fires, nothing new is started, and children are asked to save their state and exit.
    pub shutdown: CancellationToken,
}

pub struct Context {
    pub store: Store,
    pub blobs: Blobs,
    pub config: Config,
    pub worker: PathBuf,
    pub shutdown: CancellationToken,
    pub paths: Paths,
    pub slots: Slots,
    /// What is waiting for disk space.
    pub waits: DiskWaits,
    /// Set once the leftovers of an earlier server have been removed.
    pub cleared: SetOnce<()>,
    pub sweep: Notify,
    /// Datasets that nothing uses, as of the last sweep.
    pub unused: Mutex<UnusedDatasets>,
    /// Permits for previews.
    pub previews: Semaphore,
    /// Permits for children that check imported models.
    pub imports: Semaphore,
    /// One lock per dataset: its changes are made one at a time.
    pub changes: Locks<DatasetId>,
    /// One lock per thumbnail file of a dataset, by file name: it is made once.
    pub drawings: Locks<(DatasetId, String)>,
    /// Permits for children that write exports.
    pub exports: Semaphore,
    /// One lock per export of a model, by its key: it is written once.
    pub exporting: Locks<(ModelId, String)>,
    /// Permits for children that read added images while a caller waits.
    pub ingest_workers: Semaphore,
    /// Permits for children that make thumbnails: these are quick, and have their own.
    pub thumbnail_workers: Semaphore,
    pub webhooks: Webhooks,
    pub tasks: TaskTracker,
}

impl Context {
    pub fn new(given: JobsContext) -> Self {
        Self {
            paths: Paths::new(&given.config.data_dir),
            previews: Semaphore::new(given.config.limits.max_previews.min(Semaphore::MAX_PERMITS)),
            imports: Semaphore::new(given.config.limits.max_imports.min(Semaphore::MAX_PERMITS)),
            exports: Semaphore::new(given.config.limits.max_exports.min(Semaphore::MAX_PERMITS)),
            exporting: Locks::new(),
            webhooks: Webhooks::new(
                given.store.clone(),
                given.config.webhooks.clone(),
                &given.config.data_dir,
            ),
            store: given.store,
            blobs: given.blobs,
            config: given.config,
            worker: given.worker,
            shutdown: given.shutdown,
            slots: Slots::default(),
            waits: DiskWaits::default(),
            cleared: SetOnce::new(),
            sweep: Notify::new(),
            unused: Mutex::default(),
            changes: Locks::new(),
            drawings: Locks::new(),
            ingest_workers: Semaphore::new(MAX_INGEST_WORKERS),
            thumbnail_workers: Semaphore::new(MAX_THUMBNAIL_WORKERS),
            tasks: TaskTracker::new(),
        }
    }

    /// Waits until the leftovers of an earlier server have been removed; false if the server stops first.
    pub async fn may_begin(&self) -> bool {
        tokio::select! {
            () = self.shutdown.cancelled() => false,
            () = self.cleared.wait() => true,
        }
    }

    /// The log of a job, of a dataset, or of the list of devices.
    pub fn log(&self, of: &impl std::fmt::Display) -> Log {
        Log::at(self.paths.log(of), self.config.limits.max_log_bytes)
    }
}
