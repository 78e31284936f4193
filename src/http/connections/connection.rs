//! The state of a connection: who is expected to act, since when, and how fast the client is.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Waker,
    time::{Duration, Instant},
};

use tokio::task::AbortHandle;

use super::{
    framing::FramingFault,
    pace::{Floor, Pace},
    peer::Peer,
};

/// What the client or server is expected to do next, each with its own time limit.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// The first byte, and after a request's first byte the rest of its head.
    pub head: Duration,
    /// The next request.
    pub keep_alive: Duration,
    /// Bodies and responses.
    pub floor: Floor,
}

/// Why the rest of a request's body is no longer awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    TooSlow,
    Stopping,
}

/// The state of a connection, shared by everything that handles it.
pub struct Connection {
    peer: Peer,
    /// Accepted beyond the limit: for health checks only.
    reserved: bool,
    task: OnceLock<AbortHandle>,
    state: Mutex<State>,
}

struct State {
    turn: Turn,
    /// When the current phase began.
    since: Instant,
    /// When a byte was last transferred in either direction.
    moved: Instant,
    requests: u64,
    framing_fault: Option<(u64, FramingFault)>,
    body: Pace,
    body_fault: Option<BodyFault>,
    /// Wakes the reader of the body.
    waker: Option<Waker>,
    /// Bytes written to the socket, and those of them that the peer has acknowledged.
    written: u64,
    taken: u64,
    answer: Pace,
    /// Whether the socket buffer is full.
    blocked: bool,
    closing: bool,
    stopping: bool,
}

/// What is expected next on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The client is silent, and may be.
    Quiet,
    /// The client has begun to send the head of a request.
    Head,
    /// The server waits for body data.
    Body,
    /// The server is processing, or sending its response.
    Answer,
}

impl Connection {
    pub fn new(peer: Peer, reserved: bool, now: Instant) -> Arc<Self> {
        let state = State {
            turn: Turn::Quiet,
            since: now,
            moved: now,
            requests: 0,
            framing_fault: None,
            body: Pace::default(),
            body_fault: None,
            waker: None,
            written: 0,
            taken: 0,
            answer: Pace::default(),
            blocked: false,
            closing: false,
            stopping: false,
        };
        Arc::new(Self {
            peer,
            reserved,
            task: OnceLock::new(),
            state: Mutex::new(state),
        })
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    pub fn is_reserved(&self) -> bool {
        self.reserved
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

    pub fn body_fault(&self) -> Option<BodyFault> {
        self.state().body_fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Methods for code that sees bytes and requests pass.
impl Connection {
    pub(super) fn read(&self, fault: Option<(u64, FramingFault)>) {
        let now = Instant::now();
        let mut state = self.state();
        state.moved = now;
        if state.turn == Turn::Quiet {
            state.turn(Turn::Head, now);
        }
        if fault.is_some() {
            state.framing_fault = fault;
        }
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

    pub(super) fn request_begins(&self) {
        let mut state = self.state();
        state.requests += 1;
        state.body = Pace::default();
        state.turn(Turn::Answer, Instant::now());
    }

    /// The server waits for the body, unless that has been given up.
    pub(super) fn wait_for_body(&self, waker: &Waker) -> Result<(), BodyFault> {
        let now = Instant::now();
        let mut state = self.state();
        if state.stopping && state.turn == Turn::Answer {
            state.body_fault = Some(BodyFault::Stopping);
        }
        if let Some(fault) = state.body_fault {
            return Err(fault);
        }
        if state.turn == Turn::Answer {
            state.turn(Turn::Body, now);
        }
        state.body.wait(now);
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Ok(())
    }

    pub(super) fn body_came(&self, bytes: usize) {
        let now = Instant::now();
        let mut state = self.state();
        state.body.add(bytes as u64);
        state.body.pause(now);
        if state.turn == Turn::Body {
            state.turn(Turn::Answer, now);
        }
    }

    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.waker = None;
        state.turn(Turn::Quiet, Instant::now());
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
            Turn::Quiet if state.requests == 0 => turn >= deadlines.head,
            Turn::Quiet => turn >= deadlines.keep_alive,
            Turn::Head => turn >= deadlines.head,
            Turn::Body => {
                if state.body.is_too_slow(now, &deadlines.floor) {
                    state.give_body_up(BodyFault::TooSlow);
                }
                false
            }
            Turn::Answer => false,
        }
    }

    /// How long the client has been idle; `None` while the server is expected to act.
    pub(super) fn idle(&self, now: Instant, floor: &Floor) -> Option<Duration> {
        let state = self.state();
        let since = |moment| Some(now.saturating_duration_since(moment));
        match state.turn {
            // A client that sends a head or a body byte by byte counts as idle too.
            Turn::Quiet | Turn::Head if !state.blocked => since(state.since),
            Turn::Body if state.body.is_behind(now, floor) => Some(state.body.total(now)),
            Turn::Answer if !state.blocked => None,
            _ => since(state.moved),
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
        match state.turn {
            Turn::Quiet | Turn::Head => !state.blocked,
            Turn::Body => {
                state.give_body_up(BodyFault::Stopping);
                false
            }
            Turn::Answer => false,
        }
    }
}

impl State {
    fn turn(&mut self, turn: Turn, now: Instant) {
        self.turn = turn;
        self.since = now;
    }

    fn give_body_up(&mut self, fault: BodyFault) {
        self.body_fault = Some(fault);
        self.closing = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
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
        case.connection.request_begins();
        assert_eq!(case.over_after(0), None, "the server works");
        case.connection.answered();
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
        case.connection.request_begins();
        let waker = Waker::noop();
        case.connection.wait_for_body(waker).unwrap();
        assert_eq!(case.over_after(0), None, "the request is answered first");
        assert_eq!(case.connection.wait_for_body(waker), Err(BodyFault::TooSlow));
        assert!(case.connection.is_closing());
    }

    #[test]
    fn what_carries_no_complete_request_can_end_at_once() {
        let case = Case::new();
        assert!(case.connection.stop());
        case.connection.read(None);
        assert!(case.connection.stop());
        case.connection.request_begins();
        assert!(!case.connection.stop());
        assert_eq!(
            case.connection.body_fault(),
            None,
            "the handler may not need the rest of the body"
        );
        assert_eq!(
            case.connection.wait_for_body(Waker::noop()),
            Err(BodyFault::Stopping)
        );
        let case = Case::new();
        case.connection.request_begins();
        case.connection.wait_for_body(Waker::noop()).unwrap();
        assert!(!case.connection.stop());
        assert_eq!(case.connection.body_fault(), Some(BodyFault::Stopping));
    }

    #[test]
    fn drops_make_a_client_no_less_idle() {
        let case = Case::new();
        let later = case.begun + Duration::from_secs(8);
        let idle = |connection: &Connection| connection.idle(later, &DEADLINES.floor);
        case.connection.read(None);
        case.connection.read(None);
        assert!(idle(&case.connection).unwrap() > Duration::from_secs(7));
        case.connection.request_begins();
        assert_eq!(idle(&case.connection), None);
        case.connection.wait_for_body(Waker::noop()).unwrap();
        case.connection.body_came(1);
        case.connection.wait_for_body(Waker::noop()).unwrap();
        assert!(idle(&case.connection).unwrap() > Duration::from_secs(7));
    }
}
