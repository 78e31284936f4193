//! Checks before all routes: refuses ambiguous requests, bodies in encodings that are not read, and everything except health checks on connections beyond the
//! limit. Also corrects a route's error for an interrupted body to give the actual reason.

use std::time::Duration;

use axum::{
    body::HttpBody,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::encoding;
use crate::{
    error::{Error, Kind},
    http::connections::{BodyFault, Ongoing},
};

/// Paths that are served even when the server has reached its connection limit.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

pub async fn admit(request: Request, next: Next) -> Response {
    let ongoing = request.extensions().get::<Ongoing>().cloned();
    if let Some(ongoing) = &ongoing
        && let Some(refusal) = refused(ongoing, request.uri().path())
    {
        ongoing.close_after_answer();
        return refusal.into_response();
    }
    if !request.body().is_end_stream()
        && let Some(refusal) = encoding::refusal(&request)
    {
        return refusal;
    }
    let response = next.run(request).await;
    let fault = ongoing.and_then(|ongoing| ongoing.body_fault());
    match fault {
        Some(fault) if !response.status().is_success() => broken_off(fault).into_response(),
        _ => response,
    }
}

fn refused(request: &Ongoing, path: &str) -> Option<Error> {
    if let Some(fault) = request.framing_fault() {
        return Some(Error::new(Kind::Malformed, "framing-invalid", fault.detail()));
    }
    if request.is_reserved() && !HEALTH.contains(&path) {
        let detail = "the server has reached its limit of connections; try again in a moment";
        let error = Error::new(Kind::Unavailable, "connections-busy", detail);
        return Some(error.retry_after(Duration::from_secs(5)));
    }
    None
}

fn broken_off(fault: BodyFault) -> Error {
    match fault {
        BodyFault::TooSlow => {
            let detail = "the request body was sent too slowly";
            Error::new(Kind::TooSlow, "body-too-slow", detail)
        }
        BodyFault::Stopping => {
            let detail = "the server is stopping; send the request again when it has restarted";
            Error::new(Kind::Unavailable, "draining", detail).retry_after(Duration::from_secs(30))
        }
    }
}
