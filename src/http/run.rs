//! The whole server, given its settings, its socket and the moment to stop: `finetuned serve` and the tests call the same function.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{App, Parts, routes, serve};
use crate::{
    config::Config,
    data_dir::DataDir,
    inference::{Inference, InferenceContext},
    jobs::{self, JobsContext},
    uploads::Uploads,
};

/// Runs until `shutdown` fires and everything has come to rest: requests answered, workers checkpointed and gone, the database closed.
///
/// # Errors
/// The data directory cannot be used (another server uses it, or its database belongs elsewhere), the worker program is missing, or the
/// database is damaged.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    run_telling(config, listener, shutdown, |_| Ok(())).await
}

/// The same, and `listening` is called with the address once everything is open and requests are answered.
///
/// # Errors
/// Those of [`run`] and of `listening`.
pub async fn run_telling(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
    listening: impl FnOnce(SocketAddr) -> io::Result<()>,
) -> anyhow::Result<()> {
    config.check()?;
    let worker = config.worker_program()?;
    let opened = DataDir::open(&config.data_dir, config.limits.ballast_bytes).await?;
    let DataDir {
        path: data_dir,
        store,
        blobs,
        generations,
        lock: _lock,
    } = opened;
    let config = Config {
        data_dir: data_dir.clone(),
        ..config
    };
    let stopping = shutdown.child_token();
    let generations = tokio::spawn(generations.run(stopping.clone()));
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
    let told = listening(address);
    if told.is_ok() {
        serve::serve(listener, routes::service(app), &limits, stopping.clone()).await;
    }
    // Also when the socket failed: nothing goes on without it.
    stopping.cancel();
    tokio::join!(jobs.drained(), inference.drained(), uploads.drained());
    generations.await?.end().await;
    store.close().await;
    info!("stopped");
    Ok(told?)
}
