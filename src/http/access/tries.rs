//! Failed tries of an address: the first ones are answered as they are; after them one a second is looked at, and everything else from that
//! address has to wait: it is refused, and no more than a thousand times a second. Nobody guesses 256 bits; this keeps those who try from
//! costing others anything.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::rate::Rate;
use crate::http::connections::Peer;

/// Each failure counts for so long.
const EACH: Duration = Duration::from_secs(1);
/// Failures in a row that are answered at once.
const BURST: u32 = 20;
const RATE: Rate = Rate::new(EACH, BURST);
/// How often an address that has to wait is told so: whoever asks without a pause gets the answer later, which leaves the processor to others.
const REFUSED: Rate = Rate::new(Duration::from_millis(1), 1);
/// The longest that such an answer is held back: a client that waits for each does not give up.
const MOST_HELD_BACK: Duration = Duration::from_secs(1);
/// Addresses that are remembered; the one whose failures are forgiven first makes room.
const MOST: usize = 10_000;

/// What is remembered of each address.
#[derive(Default)]
pub struct Tries(Mutex<HashMap<Peer, Remembered>>);

struct Remembered {
    /// When its failures are forgiven.
    forgiven: Instant,
    /// When the last of the answers goes out that tell it to wait.
    told: Instant,
}

impl Tries {
    /// How long an address has to wait before its next try is looked at; none where it has not to.
    pub fn wait(&self, peer: Peer, now: Instant) -> Option<Duration> {
        RATE.wait(self.table().get(&peer)?.forgiven, now)
    }

    /// How long the answer that tells an address to wait is held back.
    pub fn hold_back(&self, peer: Peer, now: Instant) -> Duration {
        let mut table = self.table();
        let Some(remembered) = table.get_mut(&peer) else {
            return Duration::ZERO;
        };
        let pause = REFUSED
            .wait(remembered.told, now)
            .unwrap_or_default()
            .min(MOST_HELD_BACK);
        REFUSED.count(&mut remembered.told, now);
        remembered.told = remembered.told.min(now + MOST_HELD_BACK);
        pause
    }

    pub fn failed(&self, peer: Peer, now: Instant) {
        let mut table = self.table();
        if table.len() >= MOST && !table.contains_key(&peer) {
            table.retain(|_, one| one.forgiven > now);
        }
        if table.len() >= MOST && !table.contains_key(&peer) {
            let first = table.iter().min_by_key(|(_, one)| one.forgiven);
            if let Some(first) = first.map(|(peer, _)| *peer) {
                table.remove(&first);
            }
        }
        let new = || Remembered {
            forgiven: now,
            told: now,
        };
        RATE.count(&mut table.entry(peer).or_insert_with(new).forgiven, now);
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<Peer, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn peer(number: u32) -> Peer {
        Peer::of(IpAddr::V4(Ipv4Addr::from(number)), &[])
    }

    #[test]
    fn after_a_burst_an_address_has_one_try_a_second_and_others_are_unaffected() {
        let (tries, now) = (Tries::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(tries.wait(peer(1), now), None);
            tries.failed(peer(1), now);
        }
        assert_eq!(tries.wait(peer(1), now), Some(EACH));
        assert_eq!(tries.wait(peer(2), now), None);
        let later = now + EACH;
        assert_eq!(tries.wait(peer(1), later), None);
        tries.failed(peer(1), later);
        assert_eq!(tries.wait(peer(1), later), Some(EACH));
        // All is forgiven in the end.
        let end = later + EACH * BURST;
        assert_eq!(tries.wait(peer(1), end), None);
    }

    #[test]
    fn an_address_that_has_to_wait_is_told_so_at_a_steady_pace() {
        let (tries, now) = (Tries::default(), Instant::now());
        assert_eq!(tries.hold_back(peer(1), now), Duration::ZERO);
        tries.failed(peer(1), now);
        tries.failed(peer(2), now);
        for milliseconds in 0..1000 {
            assert_eq!(tries.hold_back(peer(1), now), Duration::from_millis(milliseconds));
        }
        for _ in 0..5000 {
            assert_eq!(tries.hold_back(peer(1), now), MOST_HELD_BACK);
        }
        assert_eq!(tries.hold_back(peer(2), now), Duration::ZERO);
        let later = now + 2 * MOST_HELD_BACK;
        assert_eq!(tries.hold_back(peer(1), later), Duration::ZERO);
    }

    #[test]
    fn many_addresses_take_no_more_than_their_room() {
        let (tries, now) = (Tries::default(), Instant::now());
        for number in 0..MOST as u32 + 50 {
            tries.failed(peer(number), now);
            tries.failed(peer(number), now);
        }
        assert_eq!(tries.table().len(), MOST);
        // Those that are forgiven make room at once.
        tries.failed(peer(u32::MAX), now + 3 * EACH);
        assert_eq!(tries.table().len(), 1);
    }
}
