//! How fast a client sends or reads, measured only while it is waited for.

use std::time::{Duration, Instant};

/// The slowest that a client may be: so many bytes a second on average, over every so long a time of waiting for it.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    pub bytes_per_second: u64,
    pub window: Duration,
}

/// What came in the current window.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the waiting that goes on now began.
    waiting_since: Option<Instant>,
    /// What was waited before that.
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// The client is waited for from now on, if it is not already.
    pub fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// The client is not waited for any more: it is the server's turn.
    pub fn pause(&mut self, now: Instant) {
        self.waited = self.total(now);
        self.waiting_since = None;
    }

    pub fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Whether a window is over and brought too little. One that brought enough makes place for the next.
    pub fn is_too_slow(&mut self, now: Instant, floor: &Floor) -> bool {
        if self.total(now) < floor.window {
            return false;
        }
        if self.is_behind(now, floor) {
            return true;
        }
        *self = Self {
            waiting_since: self.waiting_since.map(|_| now),
            ..Self::default()
        };
        false
    }

    /// Whether less came so far than had to.
    pub fn is_behind(&self, now: Instant, floor: &Floor) -> bool {
        (self.bytes as f64) < floor.bytes_per_second as f64 * self.total(now).as_secs_f64()
    }

    /// How long the client was waited for in this window.
    pub fn total(&self, now: Instant) -> Duration {
        let current = self
            .waiting_since
            .map(|since| now.saturating_duration_since(since));
        self.waited + current.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Floor = Floor {
        bytes_per_second: 1000,
        window: Duration::from_secs(10),
    };

    #[test]
    fn silence_and_drops_are_too_slow_and_what_the_server_takes_does_not_count() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut silent = Pace::default();
        silent.wait(at(0));
        assert!(!silent.is_too_slow(at(9), &FLOOR));
        assert!(silent.is_too_slow(at(10), &FLOOR));

        let mut dripping = Pace::default();
        for second in 0..10 {
            dripping.wait(at(second));
            dripping.add(1);
        }
        assert!(dripping.is_too_slow(at(10), &FLOOR));

        // A minute of the server's own, between two pieces.
        let mut busy = Pace::default();
        busy.wait(at(0));
        busy.pause(at(1));
        busy.add(500);
        busy.wait(at(61));
        assert!(!busy.is_too_slow(at(65), &FLOOR));
        assert!(busy.is_too_slow(at(70), &FLOOR));
    }

    #[test]
    fn each_window_is_for_itself() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        pace.wait(at(0));
        pace.add(1_000_000);
        assert!(!pace.is_too_slow(at(10), &FLOOR));
        assert!(!pace.is_too_slow(at(19), &FLOOR));
        assert!(
            pace.is_too_slow(at(20), &FLOOR),
            "a fast beginning does not pay for silence later"
        );
    }
}
