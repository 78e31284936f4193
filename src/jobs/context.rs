//! What every part of the background work shares.

use std::path::PathBuf;

use tokio::sync::{Notify, Semaphore, SetOnce};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{children::paths::Paths, disk_waits::DiskWaits, locks::Locks, queue::slots::Slots};
use crate::{
    blobs::Blobs,
    config::Config,
    domain::id::{DatasetId, ModelId},
    process::log::Log,
    store::Store,
};

/// So many at once leave the machine to others.
const MAX_INGEST_WORKERS: usize = 2;
const MAX_THUMBNAIL_WORKERS: usize = 2;

/// What the background work needs of the server.
pub struct JobsContext {
    pub store: Store,
    pub blobs: Blobs,
    pub config: Config,
    /// The worker program, see [`Config::worker_program`].
    pub worker: PathBuf,
    /// When it fires nothing new is begun, and children are asked to save their state and leave.
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
    /// Who waits for room on the disk.
    pub waits: DiskWaits,
    /// Set once nothing of an earlier server is in the way.
    pub cleared: SetOnce<()>,
    pub sweep: Notify,
    /// Places for previews.
    pub previews: Semaphore,
    /// Places for children that check imported models.
    pub imports: Semaphore,
    /// Changes of a dataset are made one after another.
    pub changes: Locks<DatasetId>,
    /// Of thumbnails nobody draws what somebody else is drawing: a dataset's, by the name of their file.
    pub drawings: Locks<(DatasetId, String)>,
    /// Places for children that write exports.
    pub exports: Semaphore,
    /// Of exports nobody makes what somebody else is making: a model's, by its key.
    pub exporting: Locks<(ModelId, String)>,
    /// Places for children that read added images while a caller waits.
    pub ingest_workers: Semaphore,
    /// Places for children that draw thumbnails: these are quick, and do not wait for the others.
    pub thumbnail_workers: Semaphore,
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
            store: given.store,
            blobs: given.blobs,
            config: given.config,
            worker: given.worker,
            shutdown: given.shutdown,
            slots: Slots::default(),
            waits: DiskWaits::default(),
            cleared: SetOnce::new(),
            sweep: Notify::new(),
            changes: Locks::new(),
            drawings: Locks::new(),
            ingest_workers: Semaphore::new(MAX_INGEST_WORKERS),
            thumbnail_workers: Semaphore::new(MAX_THUMBNAIL_WORKERS),
            tasks: TaskTracker::new(),
        }
    }

    /// Waits until nothing of an earlier server is in the way; false when the server stops first.
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
