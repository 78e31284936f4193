//! `max_seconds` for tasks without partial results: when the time runs out, the job fails.

use std::time::Instant;

use crate::{domain::jobs::job::FailureCode, worker::train::progress::halt::Halt};

pub struct Budget {
    max_seconds: Option<u64>,
    /// Used by earlier attempts.
    seconds_before: f64,
    began: Instant,
}

impl Budget {
    pub fn new(max_seconds: Option<u64>, seconds_before: f64) -> Self {
        Self {
            max_seconds,
            seconds_before,
            began: Instant::now(),
        }
    }

    /// # Errors
    /// `time_limit` once the time has run out.
    pub fn check(&self) -> Result<(), Halt> {
        let Some(allowed) = self.max_seconds else {
            return Ok(());
        };
        if self.seconds_before + self.began.elapsed().as_secs_f64() < allowed as f64 {
            return Ok(());
        }
        let message = format!("`max_seconds` ({allowed}) ran out before the end; allow more time");
        Err(Halt::failed(FailureCode::TimeLimit, message))
    }
}
