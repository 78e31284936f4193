//! The whole server, given its settings, its socket and a shutdown signal: called by `finetuned serve` and by the tests.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    App, Parts,
    access::{Keyring, Sessions, Tries},
    audit::Journal,
    connections::{Permits, Rules, allow_descriptors},
    listening::{Tls, health, serve},
    metrics::Metrics,
    routes,
};
use crate::{
    config::Config,
    data_dir::DataDir,
    inference::{Inference, InferenceContext},
    jobs::{self, JobsContext},
    limits::Limits,
    process::{
        cgroup,
        sandbox::{Mode, Support},
    },
    uploads::Uploads,
};

/// File descriptors reserved for everything but connections: the database, files, children.
const FILES: usize = 512;

/// Runs until `shutdown` fires and everything has stopped: requests answered, workers checkpointed and ended, the database closed.
///
/// # Errors
/// The data directory cannot be used (another server uses it, or its database belongs elsewhere), the worker program is missing, or the
/// database is damaged.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    run_with_ready(config, listener, shutdown, |_| Ok(())).await
}

/// Like [`run`], and calls `listening` with the address once the server is ready for requests.
///
/// # Errors
/// Those of [`run`] and of `listening`.
pub async fn run_with_ready(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
    listening: impl FnOnce(SocketAddr) -> io::Result<()>,
) -> anyhow::Result<()> {
    config.check()?;
    let worker = config.worker_program()?;
    let tls = match config.tls.files()? {
        Some(files) => Some(Tls::open(&files)?),
        None => None,
    };
    let opened = DataDir::open(&config.data_dir, config.limits.ballast_bytes).await?;
    let DataDir {
        path: data_dir,
        store,
        blobs,
        generations,
        lock: _lock,
    } = opened;
    let address = listener.local_addr()?;
    let mut config = Config {
        data_dir: data_dir.clone(),
        listen: address,
        ..config
    };
    // What a killed server was carrying out nobody will answer.
    store.forget_unanswered().await?;
    let keyring = Keyring::open(store.clone()).await?;
    if let Err(refused) = config.check_access(keyring.has_good_key()) {
        store.close().await;
        return Err(refused);
    }
    let journal = Journal::open(store.clone(), config.audit_log.as_deref(), &config.limits);
    let (journal, writer) = match journal {
        Ok(opened) => opened,
        Err(refused) => {
            store.close().await;
            return Err(refused);
        }
    };
    fit_connections(&mut config.limits);
    let health_listener = health::listen(&config).await?;
    let stopping = shutdown.child_token();
    let generations = tokio::spawn(generations.run(stopping.clone()));
    let keys = tokio::spawn(keyring.clone().run(stopping.clone()));
    let certificate = tls
        .clone()
        .map(|tls| tokio::spawn(tls.keep_current(stopping.clone())));
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
        sandbox: config.sandbox,
        limits: config.limits.clone(),
        blobs: blobs.clone(),
        shutdown: stopping.clone(),
    });
    let limits = config.limits.clone();
    let permits = |most| Permits::new(most, limits.max_address_share_percent);
    let uploads = Uploads::open(store.clone(), blobs.clone(), limits.clone(), stopping.clone()).await?;
    let rules = Rules::of(&limits, &config.trusted_proxies);
    tell_sandbox(config.sandbox);
    let worker_limits = cgroup::limits();
    info!(
        by = worker_limits.by,
        reason = worker_limits.reason,
        "workers have limits of memory"
    );
    info!(%address, data_dir = %config.data_dir.display(), version = env!("CARGO_PKG_VERSION"), "listening");
    let app = App(Arc::new(Parts {
        config,
        store: store.clone(),
        blobs,
        jobs: jobs.clone(),
        inference: inference.clone(),
        uploads: uploads.clone(),
        keyring,
        sessions: Sessions::default(),
        tries: Tries::default(),
        journal,
        metrics: Metrics::new(rules.open()),
        receiving: permits(limits.max_receiving_uploads),
        stopping: stopping.clone(),
        event_streams: permits(limits.max_event_streams),
        downloads: permits(limits.max_downloads),
    }));
    let nothing_more = CancellationToken::new();
    let writer = tokio::spawn(writer.run(nothing_more.clone()));
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let health = health_listener.map(|listener| health::answer(listener, app.clone(), over.clone()));
    let told = listening(address);
    if told.is_ok() {
        serve(listener, routes::service(app), rules, tls, stopping.clone()).await;
    }
    // Also if the socket failed: nothing works without it.
    stopping.cancel();
    tokio::join!(jobs.drained(), inference.drained(), uploads.drained());
    over.cancel();
    if let Some(health) = health {
        let _ = health.await;
    }
    generations.await?.end().await;
    keys.await?;
    if let Some(certificate) = certificate {
        certificate.await?;
    }
    nothing_more.cancel();
    writer.await?;
    store.close().await;
    info!("stopped");
    Ok(told?)
}

/// Says what keeps a taken over child from doing more than its work, and what does not.
fn tell_sandbox(mode: Mode) {
    let support = Support::of_this_kernel();
    if mode == Mode::Off {
        warn!(
            "workers have no sandbox (--sandbox off): whoever takes one over by a file can do what the server can"
        );
        return;
    }
    info!(%mode, seccomp = support.seccomp, landlock_abi = support.landlock_abi, "workers have a sandbox");
    for missing in &support.missing {
        warn!("the sandbox of workers is not complete: {missing}");
    }
}

/// Limits connections to what the limit of open files leaves room for; beyond that, both connections and files would fail.
fn fit_connections(limits: &mut Limits) {
    let allowed = usize::try_from(allow_descriptors()).unwrap_or(usize::MAX);
    let most = allowed.saturating_sub(FILES).max(allowed / 4);
    if limits.max_connections > most {
        warn!(
            asked = limits.max_connections,
            taken = most,
            "the limit of open files is too low for --max-connections; raise it (ulimit -n, LimitNOFILE)"
        );
        limits.max_connections = most;
    }
}
