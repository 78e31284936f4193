//! Spans of requests, jobs and attempts for an OpenTelemetry collector.
//!
//! They are compiled in by the feature `otel`; without it, [`start`] says so and everything else does nothing. `http` and `jobs` begin and
//! end the spans, `finetuned serve` starts and ends their sending. What has ended goes into a bounded queue, from which a thread of its own
//! sends it: nobody ever waits for the collector, and what has no room is dropped.

#[cfg(not(feature = "otel"))]
mod absent;
#[cfg(feature = "otel")]
mod export;
#[cfg(feature = "otel")]
mod ids;
#[cfg(feature = "otel")]
mod spans;

use crate::domain::{id::JobId, trace::TraceParent};

#[cfg(not(feature = "otel"))]
pub use self::absent::{Sending, Span, are_sent, job_ended, of_attempt, of_request, start};
#[cfg(feature = "otel")]
pub use self::{
    export::{Sending, start},
    spans::{Span, are_sent, job_ended, of_attempt, of_request},
};

/// A request, as it came.
pub struct Asked<'a> {
    pub method: &'a str,
    /// The template of its path; none where there is nothing.
    pub route: Option<&'static str>,
    /// Without anything secret.
    pub path: &'a str,
    pub parent: Option<TraceParent>,
}

/// An attempt at a job.
pub struct Attempted<'a> {
    pub job: JobId,
    pub kind: &'static str,
    pub attempt: u32,
    pub device: &'a str,
    /// Of the request that submitted the job.
    pub submitted: Option<&'a TraceParent>,
}
