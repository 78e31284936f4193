//! The answer to a range of a file that has no such bytes (RFC 9110, 15.5.17).

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::range::Asked;
use crate::error::{Error, Kind};

impl Asked {
    /// The error for a range that cannot be satisfied.
    pub fn refusal(bytes: u64) -> Response {
        let detail = format!("the range starts after the end of the file, which has {bytes} bytes");
        let mut response = Error::new(Kind::BeyondEnd, "range-not-satisfiable", detail).into_response();
        if let Ok(length) = HeaderValue::from_str(&format!("bytes */{bytes}")) {
            response.headers_mut().insert(header::CONTENT_RANGE, length);
        }
        response
    }
}
