//! The state of a connection: who is expected to act, since when, and how fast the client is.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Waker,
    time::{Duration, Instant},
};

use tokio::task::AbortHandle;

use super::{
    exchange::{BodyFault, Exchange, Looked},
    framing::FramingFault,
    pace::{Floor, Pace},
    peer::Peer,
};

/// What the client or server is expected to do next, each with its own time limit.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// The first byte, after it the rest of a TLS handshake, and after a request's first byte the rest of its head.
    pub head: Duration,
    /// The next request.
    pub keep_alive: Duration,
    /// Bodies and responses.
    pub floor: Floor,
}

/// How long the last response of an HTTP/2 connection that is to close may take to be sent.
const CLOSING: Duration = Duration::from_secs(1);

/// The state of a connection, shared by everything that handles it.
pub struct Connection {
    peer: Peer,
    /// Accepted beyond the limit: for health checks only.
    reserved: bool,
    task: OnceLock<AbortHandle>,
    secure: OnceLock<()>,
    state: Mutex<State>,
}

struct State {
    protocol: Protocol,
    turn: Turn,
    /// When the current phase began.
    since: Instant,
    /// When a byte was last transferred in either direction.
    moved: Instant,
    requests: u64,
    /// The requests that are not answered yet, the oldest first.
    exchanges: Vec<Exchange>,
    framing_fault: Option<(u64, FramingFault)>,
    /// Bytes written to the socket, and those of them that the peer has acknowledged.
    written: u64,
    taken: u64,
    answer: Pace,
    /// Whether the socket buffer is full.
    blocked: bool,
    closing: bool,
    stopping: bool,
    flooded: bool,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What is expected next on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The client is silent, and may be.
    Quiet,
    /// The client has begun a TLS handshake.
    Handshake,
    /// The client has begun to send the head of a request.
    Head,
    /// There are requests that are not answered: each of them says who is expected to act.
    Requests,
}

impl Connection {
    pub fn new(peer: Peer, reserved: bool, now: Instant) -> Arc<Self> {
        let state = State {
            protocol: Protocol::Http1,
            turn: Turn::Quiet,
            since: now,
            moved: now,
            requests: 0,
            exchanges: Vec::new(),
            framing_fault: None,
            written: 0,
            taken: 0,
            answer: Pace::default(),
            blocked: false,
            closing: false,
            stopping: false,
            flooded: false,
        };
        Arc::new(Self {
            peer,
            reserved,
            task: OnceLock::new(),
            secure: OnceLock::new(),
            state: Mutex::new(state),
        })
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    pub fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// Whether the client speaks TLS with this server itself.
    pub fn is_secure(&self) -> bool {
        self.secure.get().is_some()
    }

    /// Whether the connection closes after the response to the current request.
    pub fn is_closing(&self) -> bool {
        self.state().closing
    }

    pub fn close_after_answer(&self) {
        self.state().closing = true;
    }

    /// What is ambiguous in the current request or in an earlier one.
    pub fn framing_fault(&self) -> Option<FramingFault> {
        let state = self.state();
        let (request, fault) = state.framing_fault?;
        (request <= state.requests).then_some(fault)
    }

    pub fn body_fault(&self, id: u64) -> Option<BodyFault> {
        self.state().exchange(id)?.fault()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Methods for code that sees bytes and requests pass.
impl Connection {
    /// The client has begun a TLS handshake, which has its own time.
    pub fn handshake_begins(&self) {
        self.state().turn(Turn::Handshake, Instant::now());
    }

    /// The handshake is over; the first request is awaited.
    pub fn speaks_over_tls(&self, protocol: Protocol) {
        let _ = self.secure.set(());
        let mut state = self.state();
        state.protocol = protocol;
        state.turn(Turn::Quiet, Instant::now());
    }

    pub fn protocol(&self) -> Protocol {
        self.state().protocol
    }

    /// Bytes came in, whatever they are.
    pub(super) fn received(&self) {
        self.state().moved = Instant::now();
    }

    /// Bytes of requests came in. In HTTP/2, what comes between requests begins none: a client that only pings is silent.
    pub(super) fn read(&self, fault: Option<(u64, FramingFault)>) {
        let mut state = self.state();
        if state.turn == Turn::Quiet && state.protocol == Protocol::Http1 {
            state.turn(Turn::Head, Instant::now());
        }
        if fault.is_some() {
            state.framing_fault = fault;
        }
    }

    /// The client floods the connection with frames that ask for nothing.
    pub(super) fn is_flooded(&self) {
        self.state().flooded = true;
    }

    pub(super) fn wrote(&self, bytes: usize) {
        let mut state = self.state();
        state.written += bytes as u64;
        state.moved = Instant::now();
        state.blocked = false;
    }

    pub(super) fn cannot_write(&self) {
        self.state().blocked = true;
    }

    /// The number of the request.
    pub(super) fn request_begins(&self) -> u64 {
        let mut state = self.state();
        state.requests += 1;
        let id = state.requests;
        state.exchanges.push(Exchange::new(id));
        state.turn(Turn::Requests, Instant::now());
        id
    }

    /// The task of the request that began last.
    pub(super) fn request_is_served_by(&self, task: AbortHandle) {
        let mut state = self.state();
        if let Some(exchange) = state.exchanges.last_mut()
            && !exchange.has_task()
        {
            exchange.is_served_by(task);
        }
    }

    /// The server waits for the body, unless that has been given up.
    pub(super) fn wait_for_body(&self, id: u64, waker: &Waker) -> Result<(), BodyFault> {
        let mut state = self.state();
        let stopping = state.stopping;
        match state.exchange_mut(id) {
            Some(exchange) => exchange.wait_for_body(waker, stopping, Instant::now()),
            // Answered: what is left of the body is read by somebody with a time limit.
            None => Ok(()),
        }
    }

    pub(super) fn body_came(&self, id: u64, bytes: usize) {
        if let Some(exchange) = self.state().exchange_mut(id) {
            exchange.body_came(bytes, Instant::now());
        }
    }

    /// Bytes of a response were handed over, to be taken by the client.
    pub(super) fn offer(&self, id: u64, bytes: usize) {
        if let Some(exchange) = self.state().exchange_mut(id) {
            exchange.offer(bytes, Instant::now());
        }
    }

    /// The client has made room for what was offered.
    pub(super) fn taken(&self, id: u64) {
        if let Some(exchange) = self.state().exchange_mut(id) {
            exchange.taken(Instant::now());
        }
    }

    pub(super) fn answered(&self, id: u64) {
        let mut state = self.state();
        state.exchanges.retain(|exchange| exchange.id != id);
        if state.exchanges.is_empty() {
            state.turn(Turn::Quiet, Instant::now());
        }
    }
}

/// Methods for code that decides which connections to close.
impl Connection {
    pub(super) fn is_served_by(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Closes it as if the client had disconnected.
    pub(super) fn end(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    pub(super) fn was_flooded(&self) -> bool {
        self.state().flooded
    }

    /// Whether the client has exceeded its time. `unsent` returns the number of written bytes that the peer has not acknowledged.
    pub(super) fn is_over(
        &self,
        now: Instant,
        deadlines: &Deadlines,
        unsent: impl FnOnce() -> Option<u64>,
    ) -> bool {
        let mut state = self.state();
        if state.written > state.taken
            && let Some(unsent) = unsent()
            && state.takes_too_slowly(now, unsent, &deadlines.floor)
        {
            return true;
        }
        let turn = now.saturating_duration_since(state.since);
        match state.turn {
            // HTTP/1.1 closes by itself.
            Turn::Quiet if state.closing && state.protocol == Protocol::Http2 => turn >= CLOSING,
            Turn::Quiet if state.requests == 0 => turn >= deadlines.head,
            Turn::Quiet => turn >= deadlines.keep_alive,
            Turn::Handshake | Turn::Head => turn >= deadlines.head,
            Turn::Requests => {
                state.look_at_requests(now, &deadlines.floor);
                false
            }
        }
    }

    /// How long the client has been idle; `None` while the server is expected to act.
    pub(super) fn idle(&self, now: Instant, floor: &Floor) -> Option<Duration> {
        let state = self.state();
        let moved = now.saturating_duration_since(state.moved);
        match state.turn {
            // A client that sends a head or a body byte by byte counts as idle too.
            Turn::Quiet | Turn::Handshake | Turn::Head if !state.blocked => {
                Some(now.saturating_duration_since(state.since))
            }
            Turn::Requests => {
                let idle = state
                    .exchanges
                    .iter()
                    .map(|exchange| exchange.idle(now, floor, state.blocked, moved));
                // As long as one of them waits for the server, the client is not idle.
                idle.min()?
            }
            _ => Some(moved),
        }
    }

    /// How long no byte was transferred in either direction, whoever is expected to act.
    pub(super) fn still(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.state().moved)
    }

    /// The server is stopping. Returns whether the connection can be closed at once, because it has no complete request.
    pub(super) fn stop(&self) -> bool {
        let mut state = self.state();
        (state.closing, state.stopping) = (true, true);
        for exchange in &mut state.exchanges {
            exchange.stop();
        }
        state.turn != Turn::Requests && !state.blocked
    }
}

impl State {
    fn turn(&mut self, turn: Turn, now: Instant) {
        self.turn = turn;
        self.since = now;
    }

    fn exchange(&self, id: u64) -> Option<&Exchange> {
        self.exchanges.iter().find(|exchange| exchange.id == id)
    }

    fn exchange_mut(&mut self, id: u64) -> Option<&mut Exchange> {
        self.exchanges.iter_mut().find(|exchange| exchange.id == id)
    }

    fn look_at_requests(&mut self, now: Instant, floor: &Floor) {
        for exchange in &mut self.exchanges {
            let looked = exchange.look(now, floor);
            // In HTTP/2 the other requests of the connection go on.
            if looked == Looked::BodyGivenUp && self.protocol == Protocol::Http1 {
                self.closing = true;
            }
        }
    }

    fn takes_too_slowly(&mut self, now: Instant, unsent: u64, floor: &Floor) -> bool {
        let taken = self.written.saturating_sub(unsent);
        self.answer.add(taken.saturating_sub(self.taken));
        self.taken = taken;
        if unsent == 0 {
            self.answer = Pace::default();
            return false;
        }
        self.answer.wait(now);
        self.answer.is_too_slow(now, floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINES: Deadlines = Deadlines {
        head: Duration::from_secs(10),
        keep_alive: Duration::from_secs(60),
        floor: Floor {
            bytes_per_second: 1024,
            window: Duration::from_secs(30),
        },
    };

    struct Case {
        connection: Arc<Connection>,
        begun: Instant,
    }

    impl Case {
        fn new() -> Self {
            let begun = Instant::now();
            let peer = Peer::of([127, 0, 0, 1].into(), &[]);
            Self {
                connection: Connection::new(peer, false, begun),
                begun,
            }
        }

        /// The number of seconds after which it times out, if within two hours; nothing written is acknowledged.
        fn over_after(&self, unsent: u64) -> Option<u64> {
            (0..7200).find(|second| {
                let now = self.begun + Duration::from_secs(*second);
                self.connection.is_over(now, &DEADLINES, || Some(unsent))
            })
        }
    }

    #[test]
    fn silence_ends_a_connection_only_while_the_client_is_to_speak() {
        let case = Case::new();
        let about = |seconds: u64, over: Option<u64>| over.is_some_and(|over| over.abs_diff(seconds) <= 1);
        assert!(about(10, case.over_after(0)), "no first byte");
        case.connection.read(None);
        assert!(about(10, case.over_after(0)), "half a head");
        let request = case.connection.request_begins();
        assert_eq!(case.over_after(0), None, "the server works");
        case.connection.answered(request);
        assert!(about(60, case.over_after(0)), "no next request");
    }

    #[test]
    fn an_answer_that_nobody_takes_ends_the_connection() {
        let case = Case::new();
        case.connection.request_begins();
        case.connection.wrote(100_000);
        assert_eq!(case.over_after(0), None, "everything was acknowledged");
        let case = Case::new();
        case.connection.request_begins();
        case.connection.wrote(100_000);
        assert_eq!(
            case.over_after(60_000).map(|second| second / 10),
            Some(6),
            "40 kB are enough for the first window"
        );
    }

    #[test]
    fn a_body_that_does_not_come_is_given_up_and_whoever_waits_is_told() {
        let case = Case::new();
        let request = case.connection.request_begins();
        let waker = Waker::noop();
        case.connection.wait_for_body(request, waker).unwrap();
        assert_eq!(case.over_after(0), None, "the request is answered first");
        assert_eq!(
            case.connection.wait_for_body(request, waker),
            Err(BodyFault::TooSlow)
        );
        assert!(case.connection.is_closing());
    }

    #[test]
    fn what_carries_no_complete_request_can_end_at_once() {
        let case = Case::new();
        assert!(case.connection.stop());
        case.connection.read(None);
        assert!(case.connection.stop());
        let request = case.connection.request_begins();
        assert!(!case.connection.stop());
        assert_eq!(
            case.connection.body_fault(request),
            None,
            "the handler may not need the rest of the body"
        );
        assert_eq!(
            case.connection.wait_for_body(request, Waker::noop()),
            Err(BodyFault::Stopping)
        );
        let case = Case::new();
        let request = case.connection.request_begins();
        case.connection.wait_for_body(request, Waker::noop()).unwrap();
        assert!(!case.connection.stop());
        assert_eq!(case.connection.body_fault(request), Some(BodyFault::Stopping));
    }

    #[test]
    fn drops_make_a_client_no_less_idle() {
        let case = Case::new();
        let later = case.begun + Duration::from_secs(8);
        let idle = |connection: &Connection| connection.idle(later, &DEADLINES.floor);
        case.connection.read(None);
        case.connection.read(None);
        assert!(idle(&case.connection).unwrap() > Duration::from_secs(7));
        let request = case.connection.request_begins();
        assert_eq!(idle(&case.connection), None);
        case.connection.wait_for_body(request, Waker::noop()).unwrap();
        case.connection.body_came(request, 1);
        case.connection.wait_for_body(request, Waker::noop()).unwrap();
        assert!(idle(&case.connection).unwrap() > Duration::from_secs(7));
    }

    #[test]
    fn a_handshake_has_its_time_and_the_first_request_after_it() {
        let case = Case::new();
        let about = |seconds: u64, over: Option<u64>| over.is_some_and(|over| over.abs_diff(seconds) <= 1);
        case.connection.handshake_begins();
        case.connection.received();
        assert!(about(10, case.over_after(0)), "half a handshake");
        assert!(case.connection.stop(), "it has no request");
        let case = Case::new();
        case.connection.handshake_begins();
        case.connection.speaks_over_tls(Protocol::Http2);
        assert!(about(10, case.over_after(0)), "no first request");
    }

    #[test]
    fn what_comes_between_requests_of_http_2_is_silence() {
        let case = Case::new();
        case.connection.speaks_over_tls(Protocol::Http2);
        let request = case.connection.request_begins();
        case.connection.answered(request);
        case.connection.read(None);
        let over = case.over_after(0);
        assert!(over.is_some_and(|over| over.abs_diff(60) <= 1), "{over:?}");
        // Where it is to close, it does not wait for a next request.
        case.connection.close_after_answer();
        assert!(case.over_after(0).is_some_and(|over| over <= 2));
    }

    #[test]
    fn one_slow_body_of_http_2_is_given_up_and_the_rest_of_the_connection_works() {
        let case = Case::new();
        case.connection.speaks_over_tls(Protocol::Http2);
        let (slow, working) = (case.connection.request_begins(), case.connection.request_begins());
        case.connection.wait_for_body(slow, Waker::noop()).unwrap();
        let later = case.begun + Duration::from_secs(40);
        assert_eq!(
            case.connection.idle(later, &DEADLINES.floor),
            None,
            "the server works on the other one"
        );
        assert_eq!(case.over_after(0), None);
        assert_eq!(case.connection.body_fault(slow), Some(BodyFault::TooSlow));
        assert_eq!(case.connection.body_fault(working), None);
        assert!(!case.connection.is_closing());
        case.connection.answered(working);
        assert!(case.connection.idle(later, &DEADLINES.floor).is_some());
    }
}
