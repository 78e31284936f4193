//! The accept loop: connections come in as long as the server runs, and stopping waits for what is in flight.
//!
//! `axum::serve` has no limits, so hyper is driven here directly; what a connection may do is [`connections`](super::connections)'
//! business. HTTP/1.1 only: a proxy in front speaks the rest.

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

/// Serves until `stopping` fires, then lets requests in flight end for a while.
pub async fn serve(listener: TcpListener, service: Router, rules: Rules, stopping: CancellationToken) {
    if let Err(error) = watch_for_dead_peers(&listener) {
        warn!(%error, "clients that are gone without a word are noticed late: their sockets cannot be watched");
    }
    let registry = Registry::new(rules);
    let over = CancellationToken::new();
    let watch = tokio::spawn(registry.clone().watch(over.clone()));
    let mut http = http1::Builder::new();
    // Its own deadline for heads would begin anew with every answer, and not know a new connection from an old one.
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
            // In a box of its own, so that a connection is small as long as it is silent.
            if let Err(error) = Box::pin(watcher.watch(connection)).await {
                debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    registry.stop();
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        warn!(
            "connections were still open after {} seconds and are cut",
            DRAIN.as_secs()
        );
        registry.end_all();
    }
    over.cancel();
    let _ = watch.await;
}

/// The next connection could not be taken: its client is gone already, or the system has nothing left to take it with.
async fn no_connection(registry: &Registry, error: &io::Error) {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        return;
    }
    warn!(%error, "cannot accept a connection");
    registry.give_way();
    // Going on at once would only spin.
    tokio::time::sleep(Duration::from_millis(20)).await;
}
