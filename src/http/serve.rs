//! The accept loop: accepts connections while the server runs; on shutdown, waits for requests in progress.
//!
//! `axum::serve` has no limits, so this uses hyper directly; [`connections`](super::connections) enforces the limits. HTTP/1.1 only: a
//! proxy in front handles other versions.

use std::{io, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    connections::{Registry, Rules, Served, watch_for_dead_peers},
    routes::DRAIN,
};

/// Serves until `stopping` fires, then gives requests in progress some time to finish.
pub async fn serve(listener: TcpListener, service: Router, rules: Rules, stopping: CancellationToken) {
    if let Err(error) = watch_for_dead_peers(&listener) {
        warn!(%error, "cannot enable TCP keepalive: vanished clients are detected late");
    }
    let registry = Registry::new(rules);
    let over = CancellationToken::new();
    let watch = tokio::spawn(registry.clone().watch(over.clone()));
    let mut http = http1::Builder::new();
    // hyper's own header timeout would restart with every response, and cannot tell a new connection from an idle one.
    http.timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(64 << 10)
        .keep_alive(true);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                no_connection(&registry, &error).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (http, service, watcher) = (http.clone(), service.clone(), graceful.watcher());
        registry.admit(stream, address.ip(), |watched| async move {
            if watched.begins().await.is_err() {
                return;
            }
            let served = Served {
                router: service,
                connection: watched.connection().clone(),
            };
            let connection = http.serve_connection(TokioIo::new(watched), served);
            // Boxed, so that an idle connection uses little memory.
            if let Err(error) = Box::pin(watcher.watch(connection)).await {
                debug!(%error, "a connection was closed early");
            }
        });
    }
    drop(listener);
    registry.stop();
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        warn!(
            "connections still open after {} seconds were closed",
            DRAIN.as_secs()
        );
        registry.end_all();
    }
    over.cancel();
    let _ = watch.await;
}

/// Accepting failed: the client has already disconnected, or the system is out of resources.
async fn no_connection(registry: &Registry, error: &io::Error) {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        return;
    }
    warn!(%error, "cannot accept a connection");
    registry.give_way();
    // Retrying at once would only spin.
    tokio::time::sleep(Duration::from_millis(20)).await;
}
