//! What the log says of requests that are refused because there are too many (429): how many there were, once a second, and not a line
//! for each. A flood must fill neither the disk nor the time that answers need.

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

/// To be called for each answer, refused or not: what was counted is told with the first one that comes a second after the last time.
pub fn note(refused: bool) {
    if let Some(refused) = REFUSALS.note(refused, BEGUN.elapsed()) {
        info!(refused, "requests were refused because there are too many");
    }
}

#[derive(Debug, Default)]
struct Refusals {
    untold: AtomicU64,
    /// Milliseconds on the caller's clock.
    told_at: AtomicU64,
}

impl Refusals {
    /// How many are to be told now, if any.
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
        // Of several who come at once, one tells.
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
        // Also by an answer that is no refusal.
        assert_eq!(refusals.note(false, at(6000)), Some(999));
        assert_eq!(refusals.note(false, at(8000)), None);
    }
}
