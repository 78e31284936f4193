//! Refused and failed requests cost a client nothing, so they may come in any number. Some are written down, of each address and in total;
//! of the others only their number is.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::http::{
    access::{Passed, Rate},
    connections::Peer,
};

/// Of one address: a client with a mistake is seen whole.
const OF_ONE: Rate = Rate::new(Duration::from_secs(1), 20);
/// Of all addresses together: a line a second is thirty megabytes a day.
const OF_ALL: Rate = Rate::new(Duration::from_secs(1), 200);
/// Addresses that are remembered.
const MOST: usize = 1000;

pub struct Flood {
    addresses: HashMap<Peer, Instant>,
    all: Instant,
    skipped: u64,
}

impl Flood {
    pub fn new(now: Instant) -> Self {
        Self {
            addresses: HashMap::new(),
            all: now,
            skipped: 0,
        }
    }

    /// Whether one more is written down, and then how many were not since the last one that was.
    pub fn pass(&mut self, from: Peer, now: Instant) -> Option<u64> {
        if self.addresses.len() >= MOST && !self.addresses.contains_key(&from) {
            self.addresses.retain(|_, forgotten| *forgotten > now);
        }
        // With more addresses than can be remembered, what holds for all of them is enough.
        let has_room = self.addresses.len() < MOST || self.addresses.contains_key(&from);
        let mut passes = true;
        if has_room {
            let forgotten = self.addresses.entry(from).or_insert(now);
            passes = matches!(OF_ONE.pass(forgotten, now), Passed::Yes { .. });
        }
        if passes && matches!(OF_ALL.pass(&mut self.all, now), Passed::Yes { .. }) {
            return Some(std::mem::take(&mut self.skipped));
        }
        self.skipped += 1;
        None
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
    fn of_a_flood_some_are_seen_and_the_others_counted() {
        let begun = Instant::now();
        let mut flood = Flood::new(begun);
        let mut pass =
            |number: u32, seconds: u64| flood.pass(peer(number), begun + Duration::from_secs(seconds));
        let seen = (0..1000).filter(|_| pass(1, 0).is_some()).count();
        assert_eq!(seen, 20);
        // Somebody else is seen nevertheless, and says how many were not.
        assert_eq!(pass(2, 0), Some(980));
        assert_eq!(pass(2, 0), Some(0));
        assert_eq!(pass(1, 0), None);
        assert_eq!(pass(1, 1), Some(1));
        // Many addresses are no way around it.
        let seen = (10..10_000).filter(|number| pass(*number, 1).is_some()).count();
        assert!((170..=180).contains(&seen), "{seen}");
        assert!(pass(1, 600).is_some());
    }

    #[test]
    fn no_more_addresses_are_remembered_than_there_is_room_for() {
        let now = Instant::now();
        let mut flood = Flood::new(now);
        for number in 0..3 * MOST as u32 {
            flood.pass(peer(number), now);
        }
        assert_eq!(flood.addresses.len(), MOST);
        flood.pass(peer(u32::MAX), now + Duration::from_secs(60));
        assert_eq!(flood.addresses.len(), 1);
    }
}
