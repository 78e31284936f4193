//! How many workers were started since this program began, and how they ended.

use std::{
    ffi::OsStr,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::atomic::{AtomicU64, Ordering},
};

/// The workers of one command.
#[derive(Debug, Default)]
pub struct Lives {
    started: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    killed: AtomicU64,
}

/// Numbers of workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifeCounts {
    pub started: u64,
    /// Those that ended with status 0.
    pub ended: u64,
    /// Those that ended with another status.
    pub failed: u64,
    /// Those that were ended by a signal, by whomever.
    pub killed: u64,
}

static RUN: Lives = Lives::new();
static PREDICT: Lives = Lives::new();
static DEVICES: Lives = Lives::new();
static OTHER: Lives = Lives::new();

/// Those of a command of the worker program.
pub(super) fn of(command: Option<&OsStr>) -> &'static Lives {
    match command.and_then(OsStr::to_str) {
        Some("run") => &RUN,
        Some("predict") => &PREDICT,
        Some("devices") => &DEVICES,
        _ => &OTHER,
    }
}

/// The numbers for each command of the worker program.
pub fn counts() -> [(&'static str, LifeCounts); 3] {
    [("run", &RUN), ("predict", &PREDICT), ("devices", &DEVICES)].map(|(name, lives)| (name, lives.counts()))
}

impl Lives {
    const fn new() -> Self {
        Self {
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            killed: AtomicU64::new(0),
        }
    }

    pub(super) fn begins(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// `None`: nobody waited for it, so it is killed.
    pub(super) fn ends(&self, status: Option<ExitStatus>) {
        let count = match status {
            Some(status) if status.success() => &self.ended,
            Some(status) if status.signal().is_none() => &self.failed,
            _ => &self.killed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> LifeCounts {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        LifeCounts {
            started: count(&self.started),
            ended: count(&self.ended),
            failed: count(&self.failed),
            killed: count(&self.killed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_counts_once_as_what_it_was() {
        let lives = Lives::new();
        // As `wait` reports them: exit status 0, exit status 1, signal 9.
        for status in [Some(0), Some(1 << 8), Some(9), None] {
            lives.begins();
            lives.ends(status.map(ExitStatus::from_raw));
        }
        let expected = LifeCounts {
            started: 4,
            ended: 1,
            failed: 1,
            killed: 2,
        };
        assert_eq!(lives.counts(), expected);
    }
}
