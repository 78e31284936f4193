//! So many at once, and then one after another at a steady pace: the generic cell rate algorithm (ITU-T I.371).

use std::time::{Duration, Instant};

/// A pace that is kept to.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Each one takes so long to be forgotten.
    each: Duration,
    /// How many are let through at once, from 1.
    burst: u32,
}

/// What came of one that wanted to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It may, and so many more may follow at once.
    Yes { left: u32 },
    /// Not before this time.
    Later(Duration),
}

impl Rate {
    pub const fn new(each: Duration, burst: u32) -> Self {
        Self { each, burst }
    }

    /// So many in a second, from 1, and as many at once.
    pub fn per_second(number: u32) -> Self {
        Self::new(Duration::from_secs(1) / number.max(1), number.max(1))
    }

    /// How long the next one has to wait; none where it has not to. `forgotten` is the moment when all that were let through are forgotten.
    pub fn wait(&self, forgotten: Instant, now: Instant) -> Option<Duration> {
        let debt = forgotten.saturating_duration_since(now);
        let wait = (debt + self.each).saturating_sub(self.each * self.burst);
        (wait > Duration::ZERO).then_some(wait)
    }

    /// Counts one that was let through.
    pub fn count(&self, forgotten: &mut Instant, now: Instant) {
        *forgotten = (*forgotten).max(now) + self.each;
    }

    /// Lets one through if it may, and counts it.
    pub fn pass(&self, forgotten: &mut Instant, now: Instant) -> Passed {
        if let Some(wait) = self.wait(*forgotten, now) {
            return Passed::Later(wait);
        }
        self.count(forgotten, now);
        let room = (self.each * self.burst).saturating_sub(forgotten.saturating_duration_since(now));
        let left = room.as_nanos() / self.each.as_nanos().max(1);
        Passed::Yes {
            left: u32::try_from(left).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let rate = Rate::per_second(4);
        let begun = Instant::now();
        let mut forgotten = begun;
        for left in [3, 2, 1, 0] {
            assert_eq!(rate.pass(&mut forgotten, begun), Passed::Yes { left });
        }
        let quarter = Duration::from_millis(250);
        assert_eq!(rate.pass(&mut forgotten, begun), Passed::Later(quarter));
        // Asking costs nothing.
        assert_eq!(rate.pass(&mut forgotten, begun), Passed::Later(quarter));
        let later = begun + quarter;
        assert_eq!(rate.pass(&mut forgotten, later), Passed::Yes { left: 0 });
        assert_eq!(rate.pass(&mut forgotten, later), Passed::Later(quarter));
        // And after a pause as at the beginning.
        assert_eq!(
            rate.pass(&mut forgotten, later + Duration::from_secs(9)),
            Passed::Yes { left: 3 }
        );
    }

    #[test]
    fn over_a_long_time_the_pace_is_kept() {
        for number in [1, 3, 7, 1000] {
            let (rate, begun) = (Rate::per_second(number), Instant::now());
            let mut forgotten = begun;
            let passed = (0..100_000)
                .filter(|step| {
                    let now = begun + Duration::from_micros(100) * *step;
                    matches!(rate.pass(&mut forgotten, now), Passed::Yes { .. })
                })
                .count();
            // Ten seconds, and the burst.
            let expected = 11 * number as usize;
            assert!(
                passed.abs_diff(expected) <= 1 + expected / 50,
                "{number}: {passed}"
            );
        }
    }
}
