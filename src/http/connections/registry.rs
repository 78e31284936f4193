//! All connections of a listener: limits their number, chooses which to close when there are too many, and closes those that time out.

use std::{
    collections::HashMap,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, sync::Notify, time};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    connection::{Connection, Deadlines},
    pace::Floor,
    peer::Peer,
    seat::Seat,
    shares::{Permits, share_of},
    sockets::{forget_unsent, unsent},
    stream::Watched,
};
use crate::{config::network::Network, limits::Limits};

/// Connections beyond the limit, for health checks.
const RESERVE: usize = 32;
/// How often connections are checked.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the log reports the number of closed connections.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The limits of a listener's connections.
pub struct Rules {
    most: usize,
    /// Most connections of one address.
    share: usize,
    deadlines: Deadlines,
    proxies: Vec<Network>,
    /// For requests of HTTP/2, as many as there are connections.
    places: Permits,
    /// How many are open.
    open: Arc<AtomicUsize>,
}

impl Rules {
    pub fn of(limits: &Limits, proxies: &[Network]) -> Self {
        Self {
            most: limits.max_connections,
            share: share_of(limits.max_connections, limits.max_address_share_percent),
            deadlines: Deadlines {
                head: Duration::from_secs(limits.header_seconds),
                keep_alive: Duration::from_secs(limits.keep_alive_seconds),
                floor: Floor {
                    bytes_per_second: limits.min_bytes_per_second,
                    window: Duration::from_secs(limits.pace_seconds),
                },
            },
            proxies: proxies.to_vec(),
            places: Permits::new(limits.max_connections, limits.max_address_share_percent),
            open: Arc::default(),
        }
    }

    pub fn places(&self) -> Permits {
        self.places.clone()
    }

    /// How many connections there are, as they come and go.
    pub fn open(&self) -> Arc<AtomicUsize> {
        self.open.clone()
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Parts>);

struct Parts {
    rules: Rules,
    table: Mutex<Table>,
    /// Notified when there is a connection again.
    arrived: Notify,
}

#[derive(Default)]
struct Table {
    by_peer: HashMap<Peer, HashMap<u64, Entry>>,
    reserve: HashMap<u64, Entry>,
    open: usize,
    next_id: u64,
    /// `open` and the reserve, for those who only look.
    all: Arc<AtomicUsize>,
    /// Connections closed to make room, because they timed out, and because they were flooded, since the last log line.
    evicted: u64,
    late: u64,
    flooded: u64,
}

struct Entry {
    connection: Arc<Connection>,
    /// Open as long as the entry is in the table.
    socket: RawFd,
}

impl Registry {
    pub fn new(rules: Rules) -> Self {
        let table = Table {
            all: rules.open(),
            ..Table::default()
        };
        Self(Arc::new(Parts {
            rules,
            table: Mutex::new(table),
            arrived: Notify::new(),
        }))
    }

    /// Registers a connection, which `serve` then serves. If there are too many in total or of its address, the most idle one is closed. If
    /// none is idle, the new connection is accepted for health checks only.
    pub fn admit<F>(&self, stream: TcpStream, address: IpAddr, serve: impl FnOnce(Watched) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let now = Instant::now();
        let peer = Peer::of(address, &self.0.rules.proxies);
        let mut table = self.table();
        let reserved = !table.make_room(peer, now, &self.0.rules);
        if reserved {
            table.make_reserve(now);
        }
        let connection = Connection::new(peer, reserved, now);
        let entry = Entry {
            connection: connection.clone(),
            socket: stream.as_raw_fd(),
        };
        let id = table.insert(entry);
        drop(table);
        let registry = self.clone();
        let seat = Seat::new(move || registry.table().leaves(peer, id));
        let task = tokio::spawn(serve(Watched::new(seat, connection.clone(), stream)));
        connection.is_served_by(task.abort_handle());
        self.0.arrived.notify_one();
    }

    /// Closes the most idle connection of the address that has the most: the system has no resources for another one.
    pub fn give_way(&self) {
        self.table().evict_of_any(None, Instant::now(), &self.0.rules);
    }

    /// The server is stopping: connections without a complete request are closed now; those still receiving a body are marked to close.
    pub fn stop(&self) {
        self.table().end_where(|entry| entry.connection.stop());
    }

    /// Closes the remaining connections.
    pub fn end_all(&self) {
        self.table().end_where(|_| true);
    }

    /// Closes connections that are silent or slow for too long, until it is `over`.
    pub async fn watch(self, over: CancellationToken) {
        let mut look = time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut told = Instant::now();
        let round = async {
            loop {
                look.tick().await;
                let now = Instant::now();
                let open = self.look(now);
                if now.duration_since(told) >= TELL_EVERY && self.tell() {
                    told = now;
                }
                if open == 0 {
                    self.0.arrived.notified().await;
                }
            }
        };
        over.run_until_cancelled(round).await;
        self.tell();
    }

    /// Number of connections left afterwards.
    fn look(&self, now: Instant) -> usize {
        let deadlines = &self.0.rules.deadlines;
        let mut table = self.table();
        let ended = table.end_where(|entry| {
            let over = entry
                .connection
                .is_over(now, deadlines, || unsent(entry.socket()));
            if over && unsent(entry.socket()) > Some(0) {
                forget_unsent(entry.socket());
            }
            over
        });
        table.late += ended;
        table.open + table.reserve.len()
    }

    fn tell(&self) -> bool {
        let mut table = self.table();
        let (idle, late, flooded) = (
            std::mem::take(&mut table.evicted),
            std::mem::take(&mut table.late),
            std::mem::take(&mut table.flooded),
        );
        if idle + late + flooded == 0 {
            return false;
        }
        info!(
            idle,
            late,
            flooded,
            "closed connections: idle ones to make room, others because they were silent or slow, or flooded with frames"
        );
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open, because its owner removes this entry from the table before closing it, and the table is locked while
        // the entry is used.
        unsafe { BorrowedFd::borrow_raw(self.socket) }
    }
}

impl Table {
    fn insert(&mut self, entry: Entry) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if entry.connection.is_reserved() {
            self.reserve.insert(id, entry);
        } else {
            self.open += 1;
            self.by_peer
                .entry(entry.connection.peer())
                .or_default()
                .insert(id, entry);
        }
        self.tell_how_many();
        id
    }

    /// Its socket is about to be closed.
    fn leaves(&mut self, peer: Peer, id: u64) {
        let entry = self.remove(peer, id);
        self.flooded += u64::from(entry.is_some_and(|entry| entry.connection.was_flooded()));
    }

    fn tell_how_many(&self) {
        self.all.store(self.open + self.reserve.len(), Ordering::Relaxed);
    }

    fn remove(&mut self, peer: Peer, id: u64) -> Option<Entry> {
        if let Some(entry) = self.reserve.remove(&id) {
            self.tell_how_many();
            return Some(entry);
        }
        let own = self.by_peer.get_mut(&peer)?;
        let entry = own.remove(&id)?;
        if own.is_empty() {
            self.by_peer.remove(&peer);
        }
        self.open -= 1;
        self.tell_how_many();
        Some(entry)
    }

    /// Whether there is room for a connection of that address now.
    fn make_room(&mut self, peer: Peer, now: Instant, rules: &Rules) -> bool {
        let own = self.by_peer.get(&peer).map_or(0, HashMap::len);
        if own >= rules.share && !peer.is_proxy() {
            return self.evict_idlest(peer, now, rules);
        }
        self.open < rules.most || self.evict_of_any(Some(own), now, rules)
    }

    /// If the reserve is full, the connection that has been silent for the longest time is closed.
    fn make_reserve(&mut self, now: Instant) {
        if self.reserve.len() < RESERVE {
            return;
        }
        let stillest = self
            .reserve
            .iter()
            .max_by_key(|(_, entry)| entry.connection.still(now));
        if let Some((&id, entry)) = stillest {
            let peer = entry.connection.peer();
            self.evict(peer, id);
        }
    }

    fn evict_idlest(&mut self, peer: Peer, now: Instant, rules: &Rules) -> bool {
        let own = self.by_peer.get(&peer).into_iter().flatten();
        let idle =
            own.filter_map(|(id, entry)| Some((entry.connection.idle(now, &rules.deadlines.floor)?, *id)));
        idle.max().is_some_and(|(_, id)| self.evict(peer, id))
    }

    /// The most idle connection of the address that has the most, among those with an idle one. If none is idle, a new connection of an
    /// address with `own` connections replaces a busy one, but not one of an address that has no more than its own would have.
    fn evict_of_any(&mut self, own: Option<usize>, now: Instant, rules: &Rules) -> bool {
        let mut peers: Vec<_> = self
            .by_peer
            .iter()
            .map(|(peer, own)| (own.len(), *peer))
            .collect();
        peers.sort_unstable_by_key(|(count, _)| std::cmp::Reverse(*count));
        if peers.iter().any(|(_, peer)| self.evict_idlest(*peer, now, rules)) {
            return true;
        }
        let greedier =
            |(count, peer): &&(usize, Peer)| !peer.is_proxy() && own.is_some_and(|own| *count > own + 1);
        let Some((_, greediest)) = peers.iter().find(greedier) else {
            return false;
        };
        let connections = self.by_peer.get(greediest).into_iter().flatten();
        let stillest = connections.max_by_key(|(_, entry)| entry.connection.still(now));
        stillest
            .map(|(id, _)| *id)
            .is_some_and(|id| self.evict(*greediest, id))
    }

    fn evict(&mut self, peer: Peer, id: u64) -> bool {
        let evicted = self.remove(peer, id);
        self.evicted += u64::from(evicted.is_some());
        evicted.is_some_and(|entry| {
            entry.connection.end();
            true
        })
    }

    /// Closes those for which `over` holds; returns their number.
    fn end_where(&mut self, over: impl Fn(&Entry) -> bool) -> u64 {
        let all = self.by_peer.values().flatten().chain(&self.reserve);
        let ended: Vec<_> = all
            .filter(|(_, entry)| over(entry))
            .map(|(id, entry)| (entry.connection.peer(), *id))
            .collect();
        for (peer, id) in &ended {
            if let Some(entry) = self.remove(*peer, *id) {
                entry.connection.end();
            }
        }
        ended.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of connections registered at given seconds of a clock, and the clock.
    struct Case {
        table: Table,
        rules: Rules,
        begun: Instant,
    }

    impl Case {
        fn new(most: usize) -> Self {
            let limits = Limits {
                max_connections: most,
                ..Limits::DEFAULT
            };
            let begun = Instant::now();
            Self {
                table: Table::default(),
                rules: Rules::of(&limits, &["10.0.0.1".parse().unwrap()]),
                begun,
            }
        }

        /// A new connection; `None` if there was no room for it.
        fn comes(&mut self, address: &str, second: u64) -> Option<Arc<Connection>> {
            let now = self.begun + Duration::from_secs(second);
            let peer = Peer::of(address.parse().unwrap(), &self.rules.proxies);
            if !self.table.make_room(peer, now, &self.rules) {
                return None;
            }
            let connection = Connection::new(peer, false, now);
            self.table.insert(Entry {
                connection: connection.clone(),
                socket: -1,
            });
            Some(connection)
        }

        fn has(&self, connection: &Arc<Connection>) -> bool {
            let own = self.table.by_peer.get(&connection.peer()).into_iter().flatten();
            own.into_iter()
                .any(|(_, entry)| Arc::ptr_eq(&entry.connection, connection))
        }
    }

    #[test]
    fn an_address_that_has_its_share_gives_up_its_own_idlest() {
        let mut case = Case::new(6);
        let other = case.comes("127.0.0.2", 0).unwrap();
        let first = case.comes("127.0.0.1", 1).unwrap();
        let busy = case.comes("127.0.0.1", 0).unwrap();
        busy.request_begins();
        let third = case.comes("127.0.0.1", 3).unwrap();
        let fourth = case.comes("127.0.0.1", 4).unwrap();
        assert!(!case.has(&first) && [&other, &busy, &third, &fourth].iter().all(|kept| case.has(kept)));
        // An address whose connections are all busy gets no more; others still have their share.
        third.request_begins();
        fourth.request_begins();
        assert!(case.comes("127.0.0.1", 5).is_none());
        assert!(case.comes("127.0.0.2", 5).is_some());
        assert_eq!(case.table.open, 5);
    }

    #[test]
    fn where_all_is_full_the_greediest_address_gives_way() {
        let mut case = Case::new(6);
        let mut come = |address: &str, second| case.comes(address, second).unwrap();
        let lone = come("127.0.0.3", 0);
        let two = [come("127.0.0.2", 1), come("127.0.0.2", 2)];
        let greedy = [come("127.0.0.1", 5), come("127.0.0.1", 3), come("127.0.0.1", 4)];
        case.comes("127.0.0.4", 6).unwrap();
        assert!(
            !case.has(&greedy[1]),
            "the most idle one of the address that has the most"
        );
        assert!(case.has(&lone) && case.has(&greedy[0]) && case.has(&greedy[2]));
        // All are busy: a new address takes priority over the third connection of another one, but not over another's only one.
        let mut case = Case::new(3);
        let busy: Vec<_> = ["127.0.0.1", "127.0.0.1", "127.0.0.2"]
            .map(|address| case.comes(address, 0).unwrap())
            .into();
        for connection in &busy {
            connection.request_begins();
        }
        case.comes("127.0.0.3", 1).unwrap().request_begins();
        assert!(case.has(&busy[2]));
        assert!(case.comes("127.0.0.4", 2).is_none());
        drop(two);
    }

    #[test]
    fn a_trusted_proxy_is_held_to_no_share_and_what_works_behind_it_stays() {
        let mut case = Case::new(4);
        let all: Vec<_> = (0..4)
            .map(|second| case.comes("10.0.0.1", second).unwrap())
            .collect();
        for connection in &all {
            connection.request_begins();
        }
        assert!(case.comes("127.0.0.1", 9).is_none());
        all[2].answered(1);
        assert!(case.comes("127.0.0.1", 9).is_some());
        assert!(!case.has(&all[2]));
    }
}
