//! `traceparent` of a request (W3C Trace Context).

use axum::http::HeaderMap;

use crate::domain::trace::TraceParent;

pub const TRACEPARENT: &str = "traceparent";

/// None if there is none, several, or one that is not valid: then the trace begins anew, as the standard says.
pub fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let (first, second) = (given.next()?, given.next());
    match second {
        None => first.to_str().ok()?.parse().ok(),
        Some(_) => None,
    }
}
