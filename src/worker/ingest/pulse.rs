//! Reports a long run's progress and notices stop requests.

use std::{
    io,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{
    protocol::WorkerMessage,
    worker::process::child::{Reporter, StopFlag, Stopped},
};

/// Time between two messages; the server waits far longer for one.
const INTERVAL: Duration = Duration::from_secs(1);

/// Called from every loop that may take long, on any thread.
pub struct Heartbeat<'a> {
    reporter: &'a Reporter,
    stop: &'a StopFlag,
    last: Mutex<Option<Instant>>,
}

impl<'a> Heartbeat<'a> {
    pub fn new(reporter: &'a Reporter, stop: &'a StopFlag) -> Self {
        Self {
            reporter,
            stop,
            last: Mutex::new(None),
        }
    }

    /// Reports progress, at most once a second. Fails once the run should stop.
    pub fn beat(&self) -> io::Result<()> {
        if self.stop.is_set() {
            return Err(io::Error::other(Stopped));
        }
        if let Ok(mut last) = self.last.lock()
            && last.is_none_or(|last| last.elapsed() >= INTERVAL)
        {
            *last = Some(Instant::now());
            self.reporter.send(&WorkerMessage::alive());
        }
        Ok(())
    }

    /// Announces work without heartbeats, such as syncing a large file.
    pub fn extend_deadline(&self, longest: Duration) {
        self.reporter.send(&WorkerMessage::Alive {
            deadline_seconds: Some(longest.as_secs()),
        });
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }
}
