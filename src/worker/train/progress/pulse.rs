//! The link to the server during long work: reports progress at most once a second, and notices stop requests.

use std::time::{Duration, Instant};

use super::halt::Halt;
use crate::{
    protocol::WorkerMessage,
    worker::process::child::{Reporter, StopFlag},
};

pub struct Heartbeat {
    reporter: Reporter,
    stop: StopFlag,
    last: Instant,
}

impl Heartbeat {
    const INTERVAL: Duration = Duration::from_secs(1);
    /// Seconds added to the announced duration.
    const MARGIN_SECONDS: u64 = 120;

    pub fn new(reporter: &Reporter, stop: &StopFlag) -> Self {
        reporter.send(&WorkerMessage::alive());
        Self {
            reporter: reporter.clone(),
            stop: stop.clone(),
            last: Instant::now(),
        }
    }

    /// To be called between pieces of work that leave nothing to save.
    ///
    /// # Errors
    /// [`Halt::Stopped`] if the server wants the child to stop.
    pub fn beat(&mut self) -> Result<(), Halt> {
        self.send();
        if self.is_stopped() {
            return Err(Halt::Stopped);
        }
        Ok(())
    }

    /// As [`Heartbeat::beat`], for callers that have something to save first.
    pub fn send(&mut self) {
        if self.last.elapsed() >= Self::INTERVAL {
            self.reporter.send(&WorkerMessage::alive());
            self.last = Instant::now();
        }
    }

    /// Announces work that cannot report progress for this many seconds.
    pub fn extend_deadline(&mut self, seconds: u64) {
        self.reporter.send(&WorkerMessage::Alive {
            deadline_seconds: Some(seconds + Self::MARGIN_SECONDS),
        });
    }

    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }
}
