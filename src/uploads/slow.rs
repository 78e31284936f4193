//! What a client is told whose bytes do not come: one error for every body, whoever reads it.

use std::time::Duration;

use crate::error::{Error, Kind};

/// For a body of which nothing came for too long.
pub fn too_slow(idle: Duration) -> Error {
    let detail = format!("no data was received for {} seconds", idle.as_secs());
    Error::new(Kind::TooSlow, "body-too-slow", detail)
}
