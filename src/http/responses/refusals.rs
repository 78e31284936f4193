//! Logs requests refused with 429: their number, once per second, instead of a line for each. Under overload, logging must neither fill the
//! disk nor delay responses.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::info;

const EVERY: Duration = Duration::from_secs(1);

static REFUSALS: LazyLock<Refusals> = LazyLock::new(Refusals::default);
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Called for each response, refused or not: the count is logged with the first response at least a second after the last log line.
pub fn note(refused: bool) {
    if let Some(refused) = REFUSALS.note(refused, BEGUN.elapsed()) {
        info!(refused, "refused requests: too many");
    }
}

#[derive(Debug, Default)]
struct Refusals {
    untold: AtomicU64,
    /// Milliseconds on the caller's clock.
    told_at: AtomicU64,
}

impl Refusals {
    /// The number to log now, if any.
    fn note(&self, refused: bool, now: Duration) -> Option<u64> {
        if refused {
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
        if self.untold.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = now.as_millis() as u64;
        let told_at = self.told_at.load(Ordering::Relaxed);
        if now < told_at + EVERY.as_millis() as u64 {
            return None;
        }
        // If several arrive at once, one of them logs.
        self.told_at
            .compare_exchange(told_at, now, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        Some(self.untold.swap(0, Ordering::Relaxed)).filter(|&refused| refused > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told_once_and_many_together() {
        let refusals = Refusals::default();
        let at = |milliseconds| Duration::from_millis(milliseconds);
        assert_eq!(refusals.note(false, at(5000)), None);
        assert_eq!(refusals.note(true, at(5000)), Some(1));
        for millisecond in 1..1000 {
            assert_eq!(refusals.note(true, at(5000 + millisecond)), None);
        }
        // Also with a response that is not a refusal.
        assert_eq!(refusals.note(false, at(6000)), Some(999));
        assert_eq!(refusals.note(false, at(8000)), None);
    }
}
