//! The version of tus on both sides of a request about uploads: handlers ask for it, and every response says it.

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderValue, StatusCode, request::Parts},
    middleware::Next,
    response::Response,
};

use super::tus::{ADDRESS, RESUMABLE, TUS_VERSION, VERSION, check_version};
use crate::error::{Error, Result};

/// Proof that the client uses our version.
pub struct Spoken;

impl<S: Send + Sync> FromRequestParts<S> for Spoken {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        check_version(&parts.headers).map(|()| Self)
    }
}

/// Every response about uploads has the version, error responses too.
pub async fn say_version(request: Request, next: Next) -> Response {
    let ours = request.uri().path().starts_with(ADDRESS);
    let mut response = next.run(request).await;
    if ours {
        let headers = response.headers_mut();
        headers.insert(RESUMABLE, HeaderValue::from_static(VERSION));
        if response.status() == StatusCode::PRECONDITION_FAILED {
            response
                .headers_mut()
                .insert(TUS_VERSION, HeaderValue::from_static(VERSION));
        }
    }
    response
}
