//! `GET /metrics`.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use prometheus_client::{encoding::text::encode, registry::Registry};

use super::gathered::Gathered;
use crate::{
    error::{Error, Result},
    http::{App, responses::problem::Problems},
};

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Numbers for Prometheus
///
/// In the text format of OpenMetrics 1.0; docs/METRICS.md says what each of them is. A key needs the scope `read` and no limits.
#[utoipa::path(
    get, path = "/metrics", tag = "system",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"), Problems)
)]
pub async fn metrics(State(app): State<App>) -> Result<Response> {
    let metrics = app.metrics();
    let gathered = Gathered::of(&app, metrics).await?;
    let mut registry = Registry::with_prefix("finetuned");
    metrics.requests.register(&mut registry);
    gathered.register(&app, metrics, &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(Error::internal)?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}
