//! A prediction request on its way through the child.

use std::time::Instant;

use crate::protocol::frames::PredictRequest;

/// A request as received.
pub struct Request {
    pub header: PredictRequest,
    pub body: Vec<u8>,
    pub arrived: Instant,
}
