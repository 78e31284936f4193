//! One connection: whose turn it is, since when, and how fast its client is.

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

/// What a connection is given time for.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the first byte, and from a request's first byte for all of its head.
    pub head: Duration,
    /// For the next request.
    pub keep_alive: Duration,
    /// For bodies and answers.
    pub floor: Floor,
}

/// Why the rest of a request's body is not waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    TooSlow,
    Stopping,
}

/// What is known of a connection, shared by all that deal with it.
pub struct Connection {
    peer: Peer,
    /// Beyond what the server takes: for requests about its health alone.
    reserved: bool,
    task: OnceLock<AbortHandle>,
    state: Mutex<State>,
}

struct State {
    turn: Turn,
    /// When that turn began.
    since: Instant,
    /// When a byte last went either way.
    moved: Instant,
    requests: u64,
    framing_fault: Option<(u64, FramingFault)>,
    body: Pace,
    body_fault: Option<BodyFault>,
    /// Of who waits for the body.
    waker: Option<Waker>,
    /// Bytes handed to the kernel, and those of them that the client's machine has taken.
    written: u64,
    taken: u64,
    answer: Pace,
    /// Whether the kernel takes no more.
    blocked: bool,
    closing: bool,
    stopping: bool,
}

/// What happens next on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The client says nothing, and need not.
    Quiet,
    /// It has begun to send the head of a request.
    Head,
    /// The server waits for a piece of a body.
    Body,
    /// The server works, or sends its answer.
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

    /// Whether the connection ends with the answer to the request that it carries.
    pub fn is_closing(&self) -> bool {
        self.state().closing
    }

    pub fn close_after_answer(&self) {
        self.state().closing = true;
    }

    /// What is ambiguous in the request that it carries, or in one before it.
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

/// What those tell it who see bytes and requests go by.
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

    /// The server waits for the body, unless that is over.
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

/// What those ask who decide which connections end.
impl Connection {
    pub(super) fn is_served_by(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Ends it as if its client had left.
    pub(super) fn end(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Whether the client has had its time. `unsent` tells how much of what was written the client's machine has not taken.
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

    /// How long nothing came of it; nothing where it is the server's turn.
    pub(super) fn idle(&self, now: Instant, floor: &Floor) -> Option<Duration> {
        let state = self.state();
        let since = |moment| Some(now.saturating_duration_since(moment));
        match state.turn {
            // A head that drips is no less idle for its drops, and neither is a body.
            Turn::Quiet | Turn::Head if !state.blocked => since(state.since),
            Turn::Body if state.body.is_behind(now, floor) => Some(state.body.total(now)),
            Turn::Answer if !state.blocked => None,
            _ => since(state.moved),
        }
    }

    /// How long no byte went either way, whoever's turn it is.
    pub(super) fn still(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.state().moved)
    }

    /// The server stops. Whether the connection can end at once, because it carries no request that is complete.
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

        /// After how many seconds it is over, if within two hours; what it wrote stays with the server.
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
        assert_eq!(case.over_after(0), None, "all of it was taken");
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
            "it may need no more of its body"
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
