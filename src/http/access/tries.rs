//! Failed tries of an address: the first ones are answered as they are; after them one a second is looked at, and everything else from that
//! address has to wait. Nobody guesses 256 bits; this keeps those who try from costing others anything.

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
/// Addresses that are remembered; the one whose failures are forgiven first makes room.
const MOST: usize = 10_000;

/// For each address the moment when its failures are forgiven.
#[derive(Default)]
pub struct Tries(Mutex<HashMap<Peer, Instant>>);

impl Tries {
    /// How long an address has to wait before its next try is looked at; none where it has not to.
    pub fn wait(&self, peer: Peer, now: Instant) -> Option<Duration> {
        let forgiven = *self.table().get(&peer)?;
        RATE.wait(forgiven, now)
    }

    pub fn failed(&self, peer: Peer, now: Instant) {
        let mut table = self.table();
        if table.len() >= MOST && !table.contains_key(&peer) {
            table.retain(|_, forgiven| *forgiven > now);
        }
        if table.len() >= MOST && !table.contains_key(&peer) {
            let first = table.iter().min_by_key(|(_, forgiven)| **forgiven);
            if let Some(first) = first.map(|(peer, _)| *peer) {
                table.remove(&first);
            }
        }
        RATE.count(table.entry(peer).or_insert(now), now);
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<Peer, Instant>> {
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
