//! Requests as spans of OpenTelemetry, by the same templates as the numbers.

use axum::{
    extract::Request,
    http::{HeaderValue, header::HeaderName},
    middleware::Next,
    response::Response,
};

use super::requests::route_of;
use crate::{
    domain::access::Secret,
    http::requests::trace::{self, TRACEPARENT},
    process::traces::{self, Asked},
};

/// Around everything that makes a response what it is. What comes after belongs to the span: the log names its trace, and a job that is
/// submitted keeps it, whether or not the caller sent one.
pub async fn follow(mut request: Request, next: Next) -> Response {
    if !traces::are_sent() || is_a_watch(request.uri().path()) {
        return next.run(request).await;
    }
    // Somebody may take a key for a name.
    let path = Secret::hidden_in(request.uri().path()).into_owned();
    let span = traces::of_request(&Asked {
        method: request.method().as_str(),
        route: route_of(&request),
        path: &path,
        parent: trace::parent(request.headers()),
    });
    if let Some(context) = span.context()
        && let Ok(value) = HeaderValue::from_str(context.as_str())
    {
        request
            .headers_mut()
            .insert(HeaderName::from_static(TRACEPARENT), value);
    }
    let response = next.run(request).await;
    let id = response.headers().get("x-request-id");
    span.answered(response.status().as_u16(), id.and_then(|id| id.to_str().ok()));
    response
}

/// What asks every few seconds whether the server is well. The log is silent about it, too.
fn is_a_watch(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}
