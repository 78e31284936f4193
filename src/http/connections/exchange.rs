//! One request and its response: who is expected to act, and how fast the client is. A connection has one at a time in HTTP/1.1, several in
//! HTTP/2.

use std::{
    task::Waker,
    time::{Duration, Instant},
};

use tokio::task::AbortHandle;

use super::pace::{Floor, Pace};

/// Why the rest of a request's body is no longer awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    TooSlow,
    Stopping,
}

/// What became of a request when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    Fine,
    /// Its body came too slowly: it is answered with that.
    BodyGivenUp,
}

pub struct Exchange {
    pub id: u64,
    /// The server waits for the body.
    awaits_body: bool,
    body: Pace,
    fault: Option<BodyFault>,
    /// Wakes the reader of the body.
    waker: Option<Waker>,
    /// Bytes of the response that were handed over and are not known to have a place at the client (HTTP/2's windows).
    offered: u64,
    answer: Pace,
    /// Serves this request alone, in HTTP/2.
    task: Option<AbortHandle>,
}

impl Exchange {
    pub fn new(id: u64) -> Self {
        Self {
            id,
            awaits_body: false,
            body: Pace::default(),
            fault: None,
            waker: None,
            offered: 0,
            answer: Pace::default(),
            task: None,
        }
    }

    pub fn has_task(&self) -> bool {
        self.task.is_some()
    }

    pub fn is_served_by(&mut self, task: AbortHandle) {
        self.task = Some(task);
    }

    pub fn fault(&self) -> Option<BodyFault> {
        self.fault
    }

    /// The server waits for the body, unless that has been given up.
    pub fn wait_for_body(&mut self, waker: &Waker, stopping: bool, now: Instant) -> Result<(), BodyFault> {
        if stopping && !self.awaits_body {
            self.fault = Some(BodyFault::Stopping);
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.awaits_body = true;
        self.body.wait(now);
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Ok(())
    }

    pub fn body_came(&mut self, bytes: usize, now: Instant) {
        self.body.add(bytes as u64);
        self.body.pause(now);
        self.awaits_body = false;
    }

    /// Bytes of the response were handed over, to be taken by the client.
    pub fn offer(&mut self, bytes: usize, now: Instant) {
        self.offered = bytes as u64;
        self.answer.wait(now);
    }

    /// The client has made room for everything that was offered.
    pub fn taken(&mut self, now: Instant) {
        self.answer.add(self.offered);
        self.offered = 0;
        self.answer.pause(now);
    }

    /// Gives up a body that comes too slowly, and ends a response that is not taken, as if the client had cancelled it.
    pub fn look(&mut self, now: Instant, floor: &Floor) -> Looked {
        if self.offered > 0
            && self.answer.is_too_slow(now, floor)
            && let Some(task) = self.task.take()
        {
            task.abort();
        }
        if self.awaits_body && self.fault.is_none() && self.body.is_too_slow(now, floor) {
            self.give_body_up(BodyFault::TooSlow);
            return Looked::BodyGivenUp;
        }
        Looked::Fine
    }

    /// The server is stopping: it no longer waits for the body.
    pub fn stop(&mut self) {
        if self.awaits_body {
            self.give_body_up(BodyFault::Stopping);
        }
    }

    fn give_body_up(&mut self, fault: BodyFault) {
        self.fault = Some(fault);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// How long the client has kept this request waiting; `None` while the server is expected to act. `moved`: how long no byte went over the
    /// connection.
    pub fn idle(&self, now: Instant, floor: &Floor, is_blocked: bool, moved: Duration) -> Option<Duration> {
        if self.awaits_body {
            return Some(match self.body.is_behind(now, floor) {
                true => self.body.total(now),
                false => moved,
            });
        }
        if self.offered > 0 && self.answer.is_behind(now, floor) {
            return Some(self.answer.total(now));
        }
        is_blocked.then_some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Floor = Floor {
        bytes_per_second: 1000,
        window: Duration::from_secs(10),
    };

    #[tokio::test]
    async fn a_response_for_which_the_client_makes_no_room_is_ended_alone() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let task = tokio::spawn(std::future::pending::<()>());
        let mut exchange = Exchange::new(1);
        exchange.is_served_by(task.abort_handle());
        exchange.offer(16_000, at(0));
        exchange.taken(at(1));
        // Nothing is offered: the server has nothing to say.
        assert_eq!(exchange.look(at(100), &FLOOR), Looked::Fine);
        assert_eq!(exchange.idle(at(100), &FLOOR, false, Duration::ZERO), None);
        exchange.offer(16_000, at(100));
        exchange.look(at(110), &FLOOR);
        assert!(exchange.has_task(), "the first window had enough");
        assert!(exchange.idle(at(119), &FLOOR, false, Duration::ZERO).is_some());
        exchange.look(at(120), &FLOOR);
        assert!(!exchange.has_task());
        assert!(task.await.unwrap_err().is_cancelled());
    }

    #[test]
    fn the_pace_of_one_body_is_its_own() {
        let begun = Instant::now();
        let (mut slow, mut fast) = (Exchange::new(1), Exchange::new(2));
        for second in 0..10 {
            let now = begun + Duration::from_secs(second);
            slow.wait_for_body(Waker::noop(), false, now).unwrap();
            fast.body_came(2000, now);
            fast.wait_for_body(Waker::noop(), false, now).unwrap();
        }
        let end = begun + Duration::from_secs(10);
        assert_eq!(slow.look(end, &FLOOR), Looked::BodyGivenUp);
        assert_eq!(fast.look(end, &FLOOR), Looked::Fine);
        assert_eq!((slow.fault(), fast.fault()), (Some(BodyFault::TooSlow), None));
    }
}
