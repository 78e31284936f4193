//! Tells the server "I am getting on" during work that has no messages of its own, at most once a second.

use std::time::{Duration, Instant};

use crate::{protocol::WorkerMessage, worker::child::Reporter};

pub struct Pulse {
    reporter: Reporter,
    last: Instant,
}

impl Pulse {
    const INTERVAL: Duration = Duration::from_secs(1);

    pub fn new(reporter: Reporter) -> Self {
        reporter.send(&WorkerMessage::alive());
        let last = Instant::now();
        Self { reporter, last }
    }

    pub fn beat(&mut self) {
        if self.last.elapsed() >= Self::INTERVAL {
            self.reporter.send(&WorkerMessage::alive());
            self.last = Instant::now();
        }
    }
}
