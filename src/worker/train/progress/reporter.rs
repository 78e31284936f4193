//! Progress of work without losses.

use std::time::{Duration, Instant};

use crate::{domain::jobs::job::Progress, protocol::WorkerMessage, worker::process::child::Reporter};

/// Reports progress a few times a second.
pub struct ProgressReporter {
    reporter: Reporter,
    began: Instant,
    last: Option<Instant>,
    images: usize,
    step: usize,
    steps: usize,
}

impl ProgressReporter {
    const INTERVAL: Duration = Duration::from_millis(250);

    pub fn new(reporter: &Reporter, steps: usize) -> Self {
        Self {
            reporter: reporter.clone(),
            began: Instant::now(),
            last: None,
            images: 0,
            step: 0,
            steps,
        }
    }

    /// Adds this many images, done in this many steps.
    pub fn count(&mut self, images: usize, steps: usize) {
        self.images += images;
        self.step += steps;
        let due = self.last.is_none_or(|last| last.elapsed() >= Self::INTERVAL);
        if !due && self.step < self.steps {
            return;
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let per_step = seconds / self.step.max(1) as f64;
        let progress = Progress {
            epoch: 1,
            epochs: 1,
            step: self.step as u64,
            steps: self.steps as u64,
            images_per_second: (seconds > 0.0).then(|| self.images as f64 / seconds),
            eta_seconds: Some(per_step * self.steps.saturating_sub(self.step) as f64),
            waiting: None,
        };
        self.reporter.send(&WorkerMessage::Progress { progress });
        self.last = Some(Instant::now());
    }
}
