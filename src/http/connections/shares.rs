//! A semaphore with a total and a per-address limit, for uploads, event streams and downloads.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::Peer;

/// Cheap to clone.
#[derive(Clone)]
pub struct Permits(Arc<Inner>);

struct Inner {
    most: usize,
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_peer: HashMap<Peer, usize>,
}

/// A permit, released when dropped.
pub struct Permit {
    permits: Permits,
    peer: Peer,
}

/// Why no permit is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPermit {
    /// The address has reached its share.
    Share,
    /// The total limit is reached.
    All,
}

impl Permits {
    pub fn new(most: usize, share_percent: u32) -> Self {
        Self(Arc::new(Inner {
            most,
            share: share_of(most, share_percent),
            taken: Mutex::default(),
        }))
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// Acquires a permit for a client, if it may have one more and one is free.
    pub fn take(&self, peer: Peer) -> Result<Permit, NoPermit> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.0.most {
            return Err(NoPermit::All);
        }
        let own = taken.by_peer.entry(peer).or_default();
        if *own >= self.0.share && !peer.is_proxy() {
            return Err(NoPermit::Share);
        }
        *own += 1;
        taken.all += 1;
        drop(taken);
        Ok(Permit {
            permits: self.clone(),
            peer,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let inner = &self.permits.0;
        let mut taken = inner.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(own) = taken.by_peer.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                taken.by_peer.remove(&self.peer);
            }
        }
    }
}

/// One address's share of `most`, rounded up so that it is at least one.
pub fn share_of(most: usize, percent: u32) -> usize {
    let share = most as u128 * u128::from(percent);
    share.div_ceil(100).min(most as u128) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_a_share_but_a_proxy() {
        let peer = |address: &str| Peer::of(address.parse().unwrap(), &["10.0.0.1".parse().unwrap()]);
        let (one, other, proxy) = (peer("127.0.0.1"), peer("127.0.0.2"), peer("10.0.0.1"));
        let permits = Permits::new(6, 50);
        let held: Vec<_> = (0..3).map(|_| permits.take(one).unwrap()).collect();
        assert_eq!(permits.take(one).err(), Some(NoPermit::Share));
        let others = [other, proxy, proxy].map(|peer| permits.take(peer).unwrap());
        assert_eq!(permits.take(other).err(), Some(NoPermit::All));
        drop(others);
        drop(held);
        assert!((0..3).map(|_| permits.take(one)).all(|permit| permit.is_ok()));
        let proxied: Vec<_> = (0..6).map(|_| permits.take(proxy).unwrap()).collect();
        assert_eq!(permits.take(proxy).err(), Some(NoPermit::All));
        drop(proxied);
        assert!(permits.0.taken.lock().unwrap().by_peer.is_empty());
    }

    #[test]
    fn a_share_is_never_nothing() {
        assert_eq!(
            [
                share_of(1, 50),
                share_of(3, 50),
                share_of(8, 50),
                share_of(8, 100)
            ],
            [1, 2, 4, 8]
        );
        assert_eq!(share_of(0, 50), 0);
        assert_eq!(share_of(usize::MAX, 100), usize::MAX);
    }
}
