//! The events of a job, each once and in order, over as many connections as needed.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt, stream};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::api::{Api, Failure};
use crate::domain::{id::JobId, jobs::event::EventKind};

/// A stream that is silent for longer is considered dead: the server sends a comment every 15 seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest event in bytes; real ones are a thousand times smaller.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// Delay before reconnecting, unless the server sends another one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long to keep trying when a server that was reachable no longer is.
const GIVE_UP: Duration = Duration::from_secs(600);

/// An event of the job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobEvent {
    pub seq: i64,
    pub kind: EventKind,
    pub data: Value,
}

impl JobEvent {
    /// The event as it is in the server's list of events.
    pub fn to_json(&self) -> Value {
        json!({"object": "event", "seq": self.seq, "kind": self.kind.as_str(), "data": self.data})
    }

    /// The event, parsed; `None` if its kind is unknown to this version.
    fn parse(event: &Event) -> Option<Self> {
        Some(Self {
            seq: event.id.parse().ok()?,
            kind: EventKind::parse(&event.event)?,
            data: serde_json::from_str(&event.data).ok()?,
        })
    }
}

/// What [`EventStream::next`] returns.
#[derive(Debug, PartialEq)]
pub enum Next {
    Event(JobEvent),
    /// The connection was lost; the next call waits this long and reconnects.
    Lost(Duration),
    /// There are no more events.
    Over,
}

/// The events of one connection.
type Events<'a> = Pin<Box<dyn Stream<Item = Result<Event, EventStreamError<Failure>>> + Send + 'a>>;

/// The event stream of a job: reconnects with `Last-Event-ID` and growing delays.
pub struct EventStream<'a> {
    api: &'a Api,
    job: JobId,
    last: i64,
    /// The current connection, if any.
    events: Option<Events<'a>>,
    /// Bytes received since the last event.
    unparsed: Arc<AtomicUsize>,
    first_pause: Duration,
    failures: u32,
    wait: Option<Duration>,
    heard: Option<Instant>,
}

impl<'a> EventStream<'a> {
    pub fn new(api: &'a Api, job: JobId) -> Self {
        Self {
            api,
            job,
            last: 0,
            events: None,
            unparsed: Arc::default(),
            first_pause: FIRST_PAUSE,
            failures: 0,
            wait: None,
            heard: None,
        }
    }

    /// # Errors
    /// A permanent refusal by the server, or a server that could not be reached at all or not for ten minutes.
    pub async fn next(&mut self) -> Result<Next, Failure> {
        loop {
            if let Some(pause) = self.wait.take() {
                tokio::time::sleep(pause).await;
            }
            let Some(events) = &mut self.events else {
                match self.connect().await {
                    Ok(true) => continue,
                    Ok(false) => return Ok(Next::Over),
                    Err(failure) => return self.lost(failure),
                }
            };
            let failure = match events.next().await {
                Some(Ok(event)) => match self.take(&event) {
                    Some(event) => return Ok(Next::Event(event)),
                    None => continue,
                },
                Some(Err(EventStreamError::Transport(failure))) => failure,
                Some(Err(fault)) => self.unreachable(&format!("the event stream cannot be read: {fault}")),
                None => self.unreachable("the server closed the event stream"),
            };
            return self.lost(failure);
        }
    }

    /// Opens the stream after the last event seen; false if the server says that there are no more.
    async fn connect(&mut self) -> Result<bool, Failure> {
        let url = self.api.url(&["jobs", &self.job.to_string(), "events"]);
        let mut request = self
            .api
            .request(Method::GET, url)
            .header(header::ACCEPT, "text/event-stream");
        if self.last > 0 {
            request = request.header("last-event-id", self.last);
        }
        let response = tokio::time::timeout(SILENCE, self.api.send(request))
            .await
            .unwrap_or_else(|_| Err(self.unreachable("the request timed out")))?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(false);
        }
        self.heard = Some(Instant::now());
        self.unparsed.store(0, Ordering::Relaxed);
        let chunks = chunks(self.api, response, self.unparsed.clone());
        self.events = Some(Box::pin(chunks.eventsource()));
        Ok(true)
    }

    /// Whether the event is new.
    fn take(&mut self, event: &Event) -> Option<JobEvent> {
        self.unparsed.store(0, Ordering::Relaxed);
        self.first_pause = event.retry.unwrap_or(self.first_pause);
        let event = JobEvent::parse(event)?;
        if event.seq <= self.last {
            return None;
        }
        self.last = event.seq;
        self.failures = 0;
        Some(event)
    }

    fn lost(&mut self, failure: Failure) -> Result<Next, Failure> {
        if self.events.take().is_some() {
            // A connection that has long been silent is not kept.
            self.heard = Some(Instant::now());
        }
        let asked_for = match &failure {
            Failure::Unreachable { .. } => None,
            Failure::Refused(problem) if may_pass(problem.status) => {
                problem.retry_after.map(Duration::from_secs)
            }
            _ => return Err(failure),
        };
        if self.heard.is_none_or(|heard| heard.elapsed() >= GIVE_UP) {
            return Err(failure);
        }
        let grown = self
            .first_pause
            .saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures += 1;
        let pause = asked_for.unwrap_or(grown).min(LONGEST_PAUSE);
        self.wait = Some(pause);
        Ok(Next::Lost(pause))
    }

    fn unreachable(&self, reason: &str) -> Failure {
        unreachable(self.api, reason)
    }
}

/// The bytes of a stream. It ends when it is silent for too long, or after more bytes than an event may have without a complete event.
fn chunks(
    api: &Api,
    response: Response,
    unparsed: Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, Failure>> {
    stream::unfold((response, unparsed), move |(mut response, unparsed)| async move {
        let outcome = match tokio::time::timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                // A chunk may contain many events, so only the bytes before it count.
                match unparsed.fetch_add(bytes.len(), Ordering::Relaxed) > MAX_EVENT_BYTES {
                    true => Err(unreachable(
                        api,
                        "the event stream contains an event larger than 1 MiB",
                    )),
                    false => Ok(bytes),
                }
            }
            Ok(Ok(None)) => return None,
            Ok(Err(error)) => Err(api.lost(&error)),
            Err(_) => Err(unreachable(api, "the event stream timed out")),
        };
        Some((outcome, (response, unparsed)))
    })
}

fn unreachable(api: &Api, reason: &str) -> Failure {
    Failure::Unreachable {
        server: api.url(&[]).to_string(),
        reason: reason.to_owned(),
    }
}

fn may_pass(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn head_of(socket: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap().to_lowercase()
    }

    /// Serves the given bytes, one response per connection; returns the heads of the requests.
    async fn serve(listener: TcpListener, answers: Vec<String>) -> Vec<String> {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            heads.push(head_of(&mut socket).await);
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
        }
        heads
    }

    fn stream_of(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
    }

    fn refusal(status: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}")
    }

    fn log(seq: i64) -> String {
        format!("id: {seq}\nevent: log\ndata: {{\"message\":\"{seq}\"}}\n\n")
    }

    async fn everything(answers: Vec<String>) -> (Vec<i64>, usize, Option<Failure>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(serve(listener, answers));
        let api = Api::new(&server.parse().unwrap()).unwrap();
        let mut stream = EventStream::new(&api, JobId::new());
        let (mut seen, mut lost) = (Vec::new(), 0);
        let failure = loop {
            match stream.next().await {
                Ok(Next::Event(event)) => seen.push(event.seq),
                Ok(Next::Lost(_)) => lost += 1,
                Ok(Next::Over) => break None,
                Err(failure) => break Some(failure),
            }
        };
        (seen, lost, failure, serving.await.unwrap())
    }

    #[tokio::test]
    async fn a_cut_stream_goes_on_after_the_last_event_with_none_twice() {
        let retry = "retry: 5\n";
        let (seen, lost, failure, heads) = everything(vec![
            stream_of(&format!("{retry}{}{}id: 3\nevent: log\nda", log(1), log(2))),
            stream_of(&format!("{retry}{}{}", log(2), log(3))),
            "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned(),
        ])
        .await;
        assert_eq!((seen, lost), (vec![1, 2, 3], 2));
        assert!(failure.is_none());
        assert!(!heads[0].contains("last-event-id"), "{}", heads[0]);
        assert!(heads[1].contains("last-event-id: 2\r\n"), "{}", heads[1]);
        assert!(heads[2].contains("last-event-id: 3\r\n"), "{}", heads[2]);
    }

    #[tokio::test]
    async fn a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
        let (seen, lost, failure, _) = everything(vec![
            stream_of(&format!("retry: 5\n{}", log(1))),
            refusal("503 Service Unavailable"),
            stream_of(&log(2)),
            refusal("404 Not Found"),
        ])
        .await;
        assert_eq!((seen, lost), (vec![1, 2], 3));
        assert!(matches!(failure, Some(Failure::Refused(problem)) if problem.status == 404));
    }

    #[tokio::test]
    async fn a_server_that_was_never_there_is_told_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let api = Api::new(&format!("http://{address}").parse().unwrap()).unwrap();
        let failure = EventStream::new(&api, JobId::new()).next().await.unwrap_err();
        // Refused, unless another test has been given the same port since: then it is closed in another way.
        assert!(failure.to_string().contains("cannot be reached"), "{failure}");
    }

    #[test]
    fn events_of_a_later_version_are_skipped() {
        let unknown = Event {
            id: "4".into(),
            event: "confetti".into(),
            data: "{}".into(),
            retry: None,
        };
        assert_eq!(JobEvent::parse(&unknown), None);
    }

    #[tokio::test]
    async fn an_endless_event_does_not_fill_the_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Api::new(
            &format!("http://{}", listener.local_addr().unwrap())
                .parse()
                .unwrap(),
        )
        .unwrap();
        let serving = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            head_of(&mut socket).await;
            let begun = stream_of(&format!("{}data: ", log(1)));
            socket.write_all(begun.as_bytes()).await.unwrap();
            let mut sent = 0;
            // Until the client closes the connection.
            while socket.write_all(&[b'x'; 64 << 10]).await.is_ok() {
                sent += 64 << 10;
                assert!(sent < 64 * MAX_EVENT_BYTES, "the client reads on and on");
            }
        });
        let mut stream = EventStream::new(&api, JobId::new());
        assert!(matches!(stream.next().await, Ok(Next::Event(event)) if event.seq == 1));
        assert!(matches!(stream.next().await, Ok(Next::Lost(_))));
        drop(stream);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn events_are_read_whatever_the_line_ends_and_the_comments() {
        let text = format!(": keep-alive\n\n{}:\n\nfuture: x\n{}", log(1), log(2));
        for end in ["\n", "\r\n"] {
            let answers = vec![stream_of(&text.replace('\n', end)), refusal("404 Not Found")];
            let (seen, ..) = everything(answers).await;
            assert_eq!(seen, [1, 2], "{end:?}");
        }
    }
}
