//! A listener of its own for `/healthz` and `/readyz`, so that whoever watches over the server needs no place among its clients.

use anyhow::Context;
use axum::{Router, middleware, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{App, connections::Rules, requests::guard, responses::problem, serve::serve, system};
use crate::{
    config::Config,
    error::{Error, Kind},
    limits::Limits,
};

/// Connections that it takes at once.
const MOST: usize = 64;

/// A listener that is there, or none where no address was asked for.
pub async fn listen(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.health_listen else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {address} for requests about health"))?;
    info!(address = %listener.local_addr()?, "listening for requests about health");
    Ok(Some(listener))
}

/// Answers until `over` fires, which is when the server has come to rest.
pub fn answer(listener: TcpListener, app: App, over: CancellationToken) -> JoinHandle<()> {
    let limits = Limits {
        max_connections: MOST,
        // Nobody else is here: who asks may be one, several times.
        max_address_share_percent: 100,
        ..app.limits().clone()
    };
    let rules = Rules::of(&limits, &[]);
    let service = Router::new()
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .fallback(async || {
            let detail = "here are only /healthz and /readyz; everything else is at the server's own address";
            Error::new(Kind::NotFound, "not-found", detail)
        })
        .layer(middleware::from_fn(super::requests::admission::admit))
        .layer(middleware::from_fn(problem::finish))
        .layer(middleware::from_fn(guard::headers))
        .with_state(app);
    tokio::spawn(serve(listener, service, rules, over))
}
