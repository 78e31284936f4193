//! The whole server, given its settings, its socket and the moment to stop: `finetuned serve` and the tests call the same function.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    App, Parts,
    connections::{Places, Rules, allow_descriptors},
    health, routes, serve,
};
use crate::{
    blobs::Blobs,
    config::Config,
    inference::{Inference, InferenceContext},
    jobs::{self, JobsContext},
    limits::Limits,
    store::Store,
    uploads::Uploads,
};

/// Descriptors that are kept for everything but connections: the database, files on their way, children.
const FILES: usize = 512;

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
    let mut config = Config {
        data_dir: data_dir.clone(),
        ..config
    };
    fit_connections(&mut config.limits);
    let health_listener = health::listen(&config).await?;
    let _lock = lock(&data_dir)?;
    let store = Store::open(&data_dir.join("finetuned.db")).await?;
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
    let places = |most| Places::new(most, limits.max_address_share_percent);
    let uploads = Uploads::open(store.clone(), blobs.clone(), limits.clone(), stopping.clone()).await?;
    let rules = Rules::of(&limits, &config.trusted_proxies);
    let address = listener.local_addr()?;
    info!(%address, data_dir = %config.data_dir.display(), version = env!("CARGO_PKG_VERSION"), "listening");
    let app = App(Arc::new(Parts {
        config,
        store: store.clone(),
        blobs,
        jobs: jobs.clone(),
        inference: inference.clone(),
        uploads: uploads.clone(),
        receiving: places(limits.max_receiving_uploads),
        stopping: stopping.clone(),
        event_streams: places(limits.max_event_streams),
        downloads: places(limits.max_downloads),
    }));
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let health = health_listener.map(|listener| health::answer(listener, app.clone(), over.clone()));
    serve::serve(listener, routes::service(app), rules, stopping.clone()).await;
    // Also when the socket failed: nothing goes on without it.
    stopping.cancel();
    tokio::join!(jobs.drained(), inference.drained(), uploads.drained());
    over.cancel();
    if let Some(health) = health {
        let _ = health.await;
    }
    store.close().await;
    info!("stopped");
    Ok(())
}

/// No more connections than the system lets this process open beside its files: beyond that neither would go.
fn fit_connections(limits: &mut Limits) {
    let allowed = usize::try_from(allow_descriptors()).unwrap_or(usize::MAX);
    let most = allowed.saturating_sub(FILES).max(allowed / 4);
    if limits.max_connections > most {
        warn!(
            asked = limits.max_connections,
            taken = most,
            "the system does not allow as many open files as connections are asked for; raise its limit (ulimit -n, LimitNOFILE)"
        );
        limits.max_connections = most;
    }
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
