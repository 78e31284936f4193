//! The rate at which a client sends or reads, measured only while the server waits for it.

use std::time::{Duration, Instant};

/// The minimum rate: bytes per second, averaged over a window of time spent waiting for the client.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    pub bytes_per_second: u64,
    pub window: Duration,
}

/// Bytes transferred in the current window.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the current wait began.
    waiting_since: Option<Instant>,
    /// Time waited before that.
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Starts waiting for the client, if not waiting already.
    pub fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// Stops waiting: the server is expected to act.
    pub fn pause(&mut self, now: Instant) {
        self.waited = self.total(now);
        self.waiting_since = None;
    }

    pub fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Whether a window has ended with too few bytes. If it had enough, the next one begins.
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

    /// Whether fewer bytes were transferred so far than required.
    pub fn is_behind(&self, now: Instant, floor: &Floor) -> bool {
        (self.bytes as f64) < floor.bytes_per_second as f64 * self.total(now).as_secs_f64()
    }

    /// Time spent waiting for the client in this window.
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

        // A minute of server time, between two chunks.
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
            "a fast start does not make up for later silence"
        );
    }
}
