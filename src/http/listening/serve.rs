//! The accept loop: accepts connections while the server runs; on shutdown, waits for requests in progress.
//!
//! `axum::serve` has no limits, so this uses hyper directly; [`connections`](crate::http::connections) enforces the limits.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{speaking::Speaking, tls::Tls};
use crate::http::{
    connections::{Registry, Rules, watch_for_dead_peers},
    routes::DRAIN,
};

/// Serves until `stopping` fires, then gives requests in progress some time to finish.
pub async fn serve(
    listener: TcpListener,
    service: Router,
    rules: Rules,
    tls: Option<Arc<Tls>>,
    stopping: CancellationToken,
) {
    if let Err(error) = watch_for_dead_peers(&listener) {
        warn!(%error, "cannot enable TCP keepalive: vanished clients are detected late");
    }
    let speaking = Arc::new(Speaking::new(service, tls, rules.places()));
    let registry = Registry::new(rules);
    let over = CancellationToken::new();
    let watch = tokio::spawn(registry.clone().watch(over.clone()));
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
        let (speaking, watcher) = (speaking.clone(), graceful.watcher());
        registry.admit(stream, address.ip(), |watched| speaking.serve(watched, watcher));
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
