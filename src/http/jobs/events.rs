//! `/v1/jobs/{job}/events`: the events of a job, as server-sent events (WHATWG HTML, 9.2) or as a list. Both read the events table.
//!
//! A stream reads pages of rows with `seq > last`, then waits for a wake-up: replay, live and `Last-Event-ID` are one code path. It holds
//! at most one page, so a slow reader costs nothing. It ends with `end`; a client that reconnects after that gets 204 and stops.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::sync::watch;
use tracing::warn;
use utoipa::IntoParams;

use crate::{
    domain::{
        id::JobId,
        jobs::{
            event::{Event, EventKind},
            job::Job,
        },
        page::Page,
    },
    error::{Error, Kind, Result},
    http::{
        App,
        access::Allowed,
        connections::{Caller, Permit},
        requests::{extract::Query, whole::Whole},
        responses::problem::Problems,
    },
    store::Topic,
};

/// Rows that a stream reads per page.
const PAGE: u32 = 256;
const RECONNECT: Duration = Duration::from_millis(3000);

type Sequence = Whole<0, { i64::MAX }>;
type Limit = Whole<1, 1000>;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only events after this `seq`; for a stream, the header `Last-Event-ID` takes precedence.
    #[param(value_type = Option<i64>, minimum = 0, default = 0)]
    after: Option<Sequence>,
    /// Page size of a list: 1 to 1000, 100 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<Limit>,
}

/// List or stream a job's events
///
/// With `Accept: text/event-stream`, a stream: `id` is the event's `seq`, `event` its kind, `data` its payload. A comment is sent at least
/// every 15 seconds. The stream ends with `end`; a client that reconnects after that gets 204. Otherwise a list, oldest first.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/events", tag = "jobs",
    params(("job" = String, Path), EventsQuery, ("last-event-id" = Option<String>, Header)),
    responses(
        (status = 200, content((Page<Event> = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "The job has ended and the client has seen all events"),
        Problems
    )
)]
pub async fn events(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<EventsQuery>,
    caller: Caller,
    allowed: Allowed,
    headers: HeaderMap,
) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    let after = query.after.map_or(0, Whole::get);
    if wants_stream(&headers) {
        let seen = last_event_id(&headers).unwrap_or(after);
        return open_stream(app, job, seen, caller, allowed).await;
    }
    let limit: u32 = query.limit.map_or(100, Whole::get);
    let events = app.store().events(job.id, after, limit + 1).await?;
    Ok(Json(Page::from_rows(events, limit)).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    accept
        .split(',')
        .any(|kind| kind.trim().starts_with("text/event-stream"))
}

/// An invalid value is ignored: the client then gets all events again, which loses nothing.
fn last_event_id(headers: &HeaderMap) -> Option<i64> {
    headers
        .get("last-event-id")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .filter(|seq| *seq >= 0)
}

async fn open_stream(app: App, job: Job, seen: i64, caller: Caller, allowed: Allowed) -> Result<Response> {
    let permit = app.event_streams().take(caller.0).map_err(|_| {
        let detail =
            "too many event streams are open, in total or from this address; close some or try again later";
        Error::new(Kind::Unavailable, "too-many-streams", detail).retry_after(Duration::from_secs(5))
    })?;
    let changed = app.store().signals().subscribe(Topic::Job(job.id));
    // An id from the future (for example of a database that was restored) means: start from the beginning.
    let last = app.store().last_event(job.id).await?;
    let seen = if seen > last { 0 } else { seen };
    let page = app.store().events(job.id, seen, PAGE).await?;
    if page.is_empty() && job.status.is_end() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let heartbeat = Duration::from_secs(app.limits().sse_heartbeat_seconds.max(1));
    let reader = Reader {
        app,
        job: job.id,
        seen,
        page: page.into(),
        changed,
        ended: false,
        allowed,
        _permit: permit,
    };
    // Sent before any event; readers that keep it only with an event have it from the first one.
    let retry = stream::once(async { SseEvent::default().retry(RECONNECT) });
    let events = reader
        .into_stream()
        .enumerate()
        .map(|(place, event)| match place {
            0 => event.retry(RECONNECT),
            _ => event,
        });
    let mut response = Sse::new(retry.chain(events).map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(heartbeat))
        .into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The position of one client in a job's events.
struct Reader {
    app: App,
    job: JobId,
    seen: i64,
    page: VecDeque<Event>,
    changed: watch::Receiver<()>,
    ended: bool,
    allowed: Allowed,
    _permit: Permit,
}

impl Reader {
    fn into_stream(self) -> impl Stream<Item = SseEvent> {
        stream::unfold(self, |mut reader| async move {
            let event = reader.next().await?;
            let line = SseEvent::default()
                .id(event.seq.to_string())
                .event(event.kind.as_str())
                .data(event.data.to_string());
            Some((line, reader))
        })
    }

    /// The next event, as soon as there is one; `None` after the last event, when the server stops, when the job has been deleted, or when the
    /// caller's key is no longer good.
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        while self.page.is_empty() {
            self.changed.mark_unchanged();
            match self.app.store().events(self.job, self.seen, PAGE).await {
                Ok(page) => self.page = page.into(),
                Err(error) => {
                    warn!(%error, "event stream closed: cannot read its rows");
                    return None;
                }
            }
            if self.page.is_empty() {
                tokio::select! {
                    changed = self.changed.changed() => changed.ok()?,
                    () = self.app.stopping().cancelled() => return None,
                    () = self.allowed.ends() => return None,
                }
            }
        }
        let event = self.page.pop_front()?;
        self.seen = event.seq;
        self.ended = event.kind == EventKind::End;
        Some(event)
    }
}
