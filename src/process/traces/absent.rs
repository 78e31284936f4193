//! What stands for the spans in a server that was built without them.

use super::{Asked, Attempted};
use crate::{
    config::collector::Collector,
    domain::{jobs::job::Job, trace::TraceParent},
};

/// Nothing is sent.
pub struct Sending;

pub fn start(collector: &Collector) -> Option<Sending> {
    tracing::warn!(
        endpoint = collector.endpoint,
        "no spans are sent: this server was built without OpenTelemetry (cargo build --features otel)"
    );
    None
}

impl Sending {
    pub fn finish(self) {}
}

/// No span.
pub struct Span;

impl Span {
    pub fn context(&self) -> Option<TraceParent> {
        None
    }

    pub fn answered(self, _status: u16, _request_id: Option<&str>) {}

    pub fn attempted(self, _verdict: &'static str, _fault: Option<&str>) {}
}

pub fn are_sent() -> bool {
    false
}

pub fn of_request(_asked: &Asked) -> Span {
    Span
}

pub fn of_attempt(_attempted: &Attempted) -> Span {
    Span
}

pub fn job_ended(_job: &Job, _submitted: Option<&TraceParent>) {}
