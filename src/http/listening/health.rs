//! A separate listener for `/healthz` and `/readyz`, so that health checks do not compete with clients for connections.

use anyhow::Context;
use axum::{Router, middleware, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::serve::serve;
use crate::{
    config::Config,
    error::{Error, Kind},
    http::{
        App,
        connections::Rules,
        requests::{admission, guard},
        responses::problem,
        system,
    },
    limits::Limits,
};

/// Most connections of this listener.
const MOST: usize = 64;

/// Binds the listener; `None` if no address is configured.
pub async fn listen(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.health_listen else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address} for health checks"))?;
    info!(address = %listener.local_addr()?, "listening for health checks");
    Ok(Some(listener))
}

/// Serves until `over` fires, when the server has shut down.
pub fn answer(listener: TcpListener, app: App, over: CancellationToken) -> JoinHandle<()> {
    let limits = Limits {
        max_connections: MOST,
        // No per-address limit: one monitor may use several connections.
        max_address_share_percent: 100,
        ..app.limits().clone()
    };
    let rules = Rules::of(&limits, &[]);
    let service = Router::new()
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .fallback(async || {
            let detail = "only /healthz and /readyz are served here; use the server's main address for everything else";
            Error::new(Kind::NotFound, "not-found", detail)
        })
        .layer(middleware::from_fn(admission::admit))
        .layer(middleware::from_fn(problem::finish))
        .layer(middleware::from_fn(guard::headers))
        .with_state(app);
    tokio::spawn(serve(listener, service, rules, None, over))
}
