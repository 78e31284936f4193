//! The whole server, given its settings, its socket and the moment to stop: `finetuned serve` and the tests call the same function.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{App, Parts, routes, serve};
use crate::{
    blobs::Blobs,
    config::Config,
    inference::{Inference, InferenceContext},
    jobs::{self, JobsContext},
    store::{Ballast, Store},
    uploads::Uploads,
};

/// Runs until `shutdown` fires and everything has come to rest: requests answered, workers checkpointed and gone, the database closed.
///
/// # Errors
/// The data directory cannot be used (or another server uses it), the worker program is missing, or the database is damaged.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    config.check()?;
    let worker = config.worker_program()?;
    fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the data directory {}", config.data_dir.display()))?;
    let data_dir = config.data_dir.canonicalize()?;
    let config = Config {
        data_dir: data_dir.clone(),
        ..config
    };
    let _lock = lock(&data_dir)?;
    let ballast = Ballast::new(data_dir.join("ballast"), config.limits.ballast_bytes);
    // Opening the database makes files beside it.
    ballast.drop_if_full();
    let store = Store::open(&data_dir.join("finetuned.db"))
        .await?
        .with_ballast(ballast);
    let blobs = Blobs::open(&data_dir)?;
    let stopping = shutdown.child_token();
    let jobs = jobs::start(JobsContext {
        store: store.clone(),
        blobs: blobs.clone(),
        config: config.clone(),
        worker: worker.clone(),
        shutdown: stopping.clone(),
    });
    let inference = Inference::start(InferenceContext {
        worker,
        data_dir,
        devices: jobs.known_devices(),
        threads: config.predict_threads,
        limits: config.limits.clone(),
        blobs: blobs.clone(),
        shutdown: stopping.clone(),
    });
    let limits = config.limits.clone();
    let downloads = Arc::new(Semaphore::new(limits.max_downloads.min(Semaphore::MAX_PERMITS)));
    let uploads = Uploads::open(store.clone(), blobs.clone(), limits.clone(), stopping.clone()).await?;
    let receiving = Arc::new(Semaphore::new(
        limits.max_receiving_uploads.min(Semaphore::MAX_PERMITS),
    ));
    let event_streams = Arc::new(Semaphore::new(limits.max_event_streams));
    let address = listener.local_addr()?;
    info!(%address, data_dir = %config.data_dir.display(), version = env!("CARGO_PKG_VERSION"), "listening");
    let app = App(Arc::new(Parts {
        config,
        store: store.clone(),
        blobs,
        jobs: jobs.clone(),
        inference: inference.clone(),
        uploads: uploads.clone(),
        receiving,
        stopping: stopping.clone(),
        event_streams,
        downloads,
    }));
    serve::serve(listener, routes::service(app), &limits, stopping.clone()).await;
    // Also when the socket failed: nothing goes on without it.
    stopping.cancel();
    tokio::join!(jobs.drained(), inference.drained(), uploads.drained());
    store.close().await;
    info!("stopped");
    Ok(())
}

/// Two servers on one directory would corrupt each other. The lock goes with the process, however it ends.
fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data_dir.join("LOCK"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            bail!(
                "another finetuned server uses the data directory {}; stop it or choose another with --data-dir",
                data_dir.display()
            )
        }
        Err(fs::TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
    }
}
