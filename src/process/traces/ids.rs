//! Ids of spans. Those of a job follow from the job's own id: its attempts name its span before that has ended, and in the lives of other
//! servers, too.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use crate::domain::id::JobId;

/// What the next span of this thread gets instead of random ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// Only used by a span without a parent.
    pub trace: Option<TraceId>,
    pub span: Option<SpanId>,
}

thread_local! {
    static GIVEN: Cell<Given> = const { Cell::new(Given { trace: None, span: None }) };
}

/// Random ids, except in [`with`].
#[derive(Debug, Default)]
pub struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        GIVEN.get().trace.unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        GIVEN.get().span.unwrap_or_else(|| self.0.new_span_id())
    }
}

/// Has `begin` begin a span with these ids: the library has no other way to choose them.
pub fn with<T>(given: Given, begin: impl FnOnce() -> T) -> T {
    GIVEN.set(given);
    let begun = begin();
    GIVEN.set(Given::default());
    begun
}

/// The trace of a job that was submitted without one: its UUID, which is as long.
pub fn trace_of(job: JobId) -> TraceId {
    let text = job.to_string();
    TraceId::from_hex(&text[JobId::PREFIX.len()..]).unwrap_or(TraceId::INVALID)
}

/// The span of a job: the random half of its UUID.
pub fn span_of(job: JobId) -> SpanId {
    let text = job.to_string();
    SpanId::from_hex(&text[text.len() - 16..]).unwrap_or(SpanId::INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_job_are_its_own() {
        let job: JobId = "job_019ab3c4d5e67f8091a2b3c4d5e6f708".parse().unwrap();
        assert_eq!(trace_of(job).to_string(), "019ab3c4d5e67f8091a2b3c4d5e6f708");
        assert_eq!(span_of(job).to_string(), "91a2b3c4d5e6f708");
        let ids = Ids::default();
        let span = Some(span_of(job));
        assert_eq!(
            with(Given { trace: None, span }, || ids.new_span_id()),
            span_of(job)
        );
        assert_ne!(ids.new_span_id(), span_of(job));
    }
}
