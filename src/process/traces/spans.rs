//! What the spans say, in the words of OpenTelemetry's semantic conventions where those have one.
//!
//! They are made by OpenTelemetry's own interface and not from the spans of `tracing`, which are there for the log: a job's span begins when
//! the job was submitted, maybe in the life of an earlier server, and no log line is of interest to a collector twice.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState, Tracer,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use super::{
    Asked, Attempted,
    ids::{self, Given},
};
use crate::domain::{jobs::job::Job, time::Timestamp, trace::TraceParent};

/// Of this process, as the log is: set once, before the first request.
pub(super) static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// A span that is under way. It ends with what became of it, or, where that is not known, when it is dropped.
pub struct Span(Option<SdkSpan>);

pub fn are_sent() -> bool {
    TRACER.get().is_some()
}

pub fn of_request(asked: &Asked) -> Span {
    // The conventions have a name for methods that somebody made up, of which there may be any number.
    let known = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ];
    let known = known.into_iter().find(|known| *known == asked.method);
    let method = known.unwrap_or("HTTP");
    let name = match asked.route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let mut about = vec![
        KeyValue::new("http.request.method", known.unwrap_or("_OTHER")),
        KeyValue::new("url.path", asked.path.to_owned()),
    ];
    about.extend(asked.route.map(|route| KeyValue::new("http.route", route)));
    let parent = asked.parent.as_ref().map(context_of).unwrap_or_default();
    let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server);
    begin(builder.with_attributes(about), &parent, Given::default())
}

/// A child of its job's span.
pub fn of_attempt(attempted: &Attempted) -> Span {
    let about = [
        KeyValue::new("finetuned.job.id", attempted.job.to_string()),
        KeyValue::new("finetuned.job.kind", attempted.kind),
        KeyValue::new("finetuned.attempt", i64::from(attempted.attempt)),
        KeyValue::new("finetuned.device", attempted.device.to_owned()),
    ];
    let (parent, given) = match attempted.submitted {
        Some(trace) => {
            let (trace_id, _, flags) = parts(trace);
            (
                context(trace_id, ids::span_of(attempted.job), flags),
                Given::default(),
            )
        }
        None => (
            Context::new(),
            Given {
                trace: Some(ids::trace_of(attempted.job)),
                span: None,
            },
        ),
    };
    let builder = SpanBuilder::from_name(format!("attempt {}", attempted.kind));
    begin(builder.with_attributes(about), &parent, given)
}

/// The whole of a job that has ended, from when it was submitted. It is a child of the request that did so.
pub fn job_ended(job: &Job, submitted: Option<&TraceParent>) {
    let mut about = vec![
        KeyValue::new("finetuned.job.id", job.id.to_string()),
        KeyValue::new("finetuned.job.kind", job.kind.as_str()),
        KeyValue::new("finetuned.job.status", job.status.as_str()),
        KeyValue::new("finetuned.attempts", i64::from(job.attempt)),
        KeyValue::new("finetuned.dataset.id", job.dataset.id.to_string()),
    ];
    about.extend(
        job.model
            .map(|model| KeyValue::new("finetuned.model.id", model.to_string())),
    );
    let given = Given {
        trace: Some(ids::trace_of(job.id)),
        span: Some(ids::span_of(job.id)),
    };
    let builder = SpanBuilder::from_name(format!("job {}", job.kind.as_str()))
        .with_start_time(time(job.created_at))
        .with_attributes(about);
    let parent = submitted.map(context_of).unwrap_or_default();
    let Span(Some(mut span)) = begin(builder, &parent, given) else {
        return;
    };
    if let Some(error) = &job.error {
        span.set_status(Status::error(error.message.clone()));
    }
    span.end_with_timestamp(job.finished_at.map_or_else(SystemTime::now, time));
}

fn begin(builder: SpanBuilder, parent: &Context, given: Given) -> Span {
    let begin = |tracer: &SdkTracer| ids::with(given, || tracer.build_with_context(builder, parent));
    Span(TRACER.get().map(begin))
}

impl Span {
    /// What those that come after it have as their parent: also where it is not sampled, so that they are not, either.
    pub fn context(&self) -> Option<TraceParent> {
        let context = self.0.as_ref()?.span_context();
        let (trace, span) = (context.trace_id(), context.span_id());
        let flags = context.trace_flags().to_u8();
        format!("00-{trace}-{span}-{flags:02x}").parse().ok()
    }

    pub fn answered(mut self, status: u16, request_id: Option<&str>) {
        let Some(span) = &mut self.0 else { return };
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if let Some(id) = request_id {
            span.set_attribute(KeyValue::new("finetuned.request_id", id.to_owned()));
        }
        // A caller's mistake is no error of this server, the conventions say.
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
        span.end();
    }

    /// `fault`: what it failed of, where it did.
    pub fn attempted(mut self, verdict: &'static str, fault: Option<&str>) {
        let Some(span) = &mut self.0 else { return };
        span.set_attribute(KeyValue::new("finetuned.verdict", verdict));
        if let Some(fault) = fault {
            span.set_status(Status::error(fault.to_owned()));
        }
        span.end();
    }
}

fn parts(trace: &TraceParent) -> (TraceId, SpanId, TraceFlags) {
    let trace_id = TraceId::from_hex(trace.trace_id()).unwrap_or(TraceId::INVALID);
    let parent_id = SpanId::from_hex(trace.parent_id()).unwrap_or(SpanId::INVALID);
    (trace_id, parent_id, TraceFlags::new(trace.flags()))
}

fn context_of(trace: &TraceParent) -> Context {
    let (trace_id, parent_id, flags) = parts(trace);
    context(trace_id, parent_id, flags)
}

fn context(trace: TraceId, parent: SpanId, flags: TraceFlags) -> Context {
    let parent = SpanContext::new(trace, parent, flags, true, TraceState::NONE);
    Context::new().with_remote_span_context(parent)
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.0.max(0) as u64)
}
