//! All keys in memory, so that no request asks the database for one. They are read again when the database says that they have changed: at
//! once after a change by this server, and within [`LOOK_EVERY`] after one by `finetuned keys`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{quota::Spent, rate::Rate};
use crate::{
    domain::{
        access::{Key, KeyState, Secret, SecretDigest},
        id::KeyId,
        time::Timestamp,
    },
    error::Result,
    http::connections::Peer,
    store::{Store, StoredKey},
};

/// How often the database is asked for changes: one row, which is in its cache.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the times of the last uses are written.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// Addresses that a key remembers it was used from.
const ADDRESSES: usize = 8;

/// Cheap to clone.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    store: Store,
    keys: RwLock<Arc<Keys>>,
    /// One reading at a time: an older one never replaces a newer.
    reading: tokio::sync::Mutex<()>,
}

/// All keys at one time.
#[derive(Default)]
struct Keys {
    revision: i64,
    /// By the beginning of the digest.
    by_slot: HashMap<u64, Vec<Arc<HeldKey>>>,
    by_id: HashMap<KeyId, Arc<HeldKey>>,
}

/// A key that somebody may come with.
pub struct HeldKey {
    pub key: Key,
    digest: SecretDigest,
    life: Arc<Life>,
}

/// What lasts longer than one reading of a key.
struct Life {
    /// In milliseconds since 1970; 0: never.
    used_at: AtomicI64,
    noted_at: AtomicI64,
    /// The last addresses that it was used from, oldest first.
    addresses: Mutex<Vec<Peer>>,
    /// When all its requests are forgotten, for the quota.
    requests: Mutex<Instant>,
    /// Fires when it is revoked.
    revoked: CancellationToken,
}

impl Keyring {
    /// Reads all keys.
    ///
    /// # Errors
    /// They cannot be read: nobody would be known.
    pub async fn open(store: Store) -> Result<Self> {
        let keyring = Self(Arc::new(Inner {
            store,
            keys: RwLock::default(),
            reading: tokio::sync::Mutex::default(),
        }));
        keyring.read().await?;
        Ok(keyring)
    }

    /// Whether requests need a key: from the first one on, whatever became of it.
    pub fn is_needed(&self) -> bool {
        !self.keys().by_id.is_empty()
    }

    /// Whether there is a key that opens anything.
    pub fn has_good_key(&self) -> bool {
        let now = Timestamp::now();
        let keys = self.keys();
        keys.by_id
            .values()
            .any(|held| held.key.state(now) == KeyState::Good)
    }

    /// The key with this secret, good or not.
    pub fn find(&self, secret: &Secret) -> Option<Arc<HeldKey>> {
        let digest = secret.digest();
        let keys = self.keys();
        let slot = keys.by_slot.get(&digest.slot())?;
        // A slot has one. The comparison takes the same time wherever the two differ.
        slot.iter().find(|held| held.digest.is(&digest)).cloned()
    }

    pub fn of_id(&self, id: KeyId) -> Option<Arc<HeldKey>> {
        self.keys().by_id.get(&id).cloned()
    }

    /// Reads the keys again if they have changed.
    pub async fn refresh(&self) -> Result<()> {
        let known = self.keys().revision;
        if self.0.store.keys_revision().await? == known {
            return Ok(());
        }
        self.read().await
    }

    async fn read(&self) -> Result<()> {
        let _alone = self.0.reading.lock().await;
        let (revision, stored) = self.0.store.all_keys().await?;
        let before = self.keys();
        let mut keys = Keys {
            revision,
            ..Keys::default()
        };
        for one in stored {
            let known = before.by_id.get(&one.key.id);
            let held = Arc::new(HeldKey::of(one, known.map(|known| known.life.clone())));
            keys.by_slot
                .entry(held.digest.slot())
                .or_default()
                .push(held.clone());
            keys.by_id.insert(held.key.id, held);
        }
        for (id, held) in &before.by_id {
            if keys.by_id.get(id).is_none_or(|now| now.key.revoked_at.is_some()) {
                held.life.revoked.cancel();
            }
        }
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    /// Looks for changes and notes uses until `stopping` fires.
    pub async fn run(self, stopping: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        let mut note = interval(NOTE_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        note.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_stuck = false;
        loop {
            let done = tokio::select! {
                () = stopping.cancelled() => break,
                _ = look.tick() => self.refresh().await,
                _ = note.tick() => self.note_uses().await,
            };
            match done {
                Err(error) if !is_stuck => {
                    warn!(%error, "cannot read or note the keys; retrying, and going on with those that are known");
                    is_stuck = true;
                }
                Err(_) => {}
                Ok(()) => is_stuck = false,
            }
        }
        if let Err(error) = self.note_uses().await {
            warn!(%error, "cannot note when keys were last used");
        }
    }

    /// Writes when keys were used since the last time, all in one transaction.
    async fn note_uses(&self) -> Result<()> {
        let keys = self.keys();
        let used: Vec<_> = keys
            .by_id
            .values()
            .filter(|held| held.life.is_to_note())
            .collect();
        if used.is_empty() {
            return Ok(());
        }
        let uses: Vec<_> = used
            .iter()
            .map(|held| (held.key.id, Timestamp(held.life.used_at.load(Ordering::Relaxed))))
            .collect();
        self.0.store.note_key_uses(uses.clone()).await?;
        for (held, (_, at)) in used.into_iter().zip(uses) {
            held.life.noted_at.store(at.0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn keys(&self) -> Arc<Keys> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl HeldKey {
    fn of(stored: StoredKey, life: Option<Arc<Life>>) -> Self {
        let noted_at = stored.key.last_used_at.map_or(0, |at| at.0);
        let new = || {
            Arc::new(Life {
                used_at: AtomicI64::new(noted_at),
                noted_at: AtomicI64::new(noted_at),
                addresses: Mutex::default(),
                requests: Mutex::new(Instant::now()),
                revoked: CancellationToken::new(),
            })
        };
        Self {
            key: stored.key,
            digest: stored.digest,
            life: life.unwrap_or_else(new),
        }
    }

    /// Somebody used it from an address.
    pub fn used(&self, from: Peer, now: Timestamp) {
        self.life.used_at.fetch_max(now.0, Ordering::Relaxed);
        let mut addresses = self.life.addresses();
        if !addresses.contains(&from) {
            if addresses.len() == ADDRESSES {
                addresses.remove(0);
            }
            addresses.push(from);
        }
    }

    /// Takes a request from what it may make in a second; none where it may make any number.
    pub fn spend(&self, now: Instant) -> Option<Spent> {
        let per_second = self.key.quotas.max_requests_per_second?;
        let mut forgotten = self.life.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = Rate::per_second(per_second).pass(&mut forgotten, now);
        Some(Spent { per_second, passed })
    }

    /// Whether it was used from this address lately.
    pub fn is_familiar(&self, from: Peer) -> bool {
        self.life.addresses().contains(&from)
    }

    /// When it was last used, as this server knows it.
    pub fn last_used_at(&self) -> Option<Timestamp> {
        let at = self.life.used_at.load(Ordering::Relaxed);
        (at > 0).then_some(Timestamp(at))
    }

    /// Waits until it is revoked or expires.
    pub async fn ends(&self) {
        let expires = async {
            let Some(end) = self.key.expires_at else {
                return std::future::pending().await;
            };
            let left = end.0.saturating_sub(Timestamp::now().0).max(0) as u64;
            tokio::time::sleep(Duration::from_millis(left)).await;
        };
        tokio::select! {
            () = self.life.revoked.cancelled() => {}
            () = expires => {}
        }
    }
}

impl Life {
    fn is_to_note(&self) -> bool {
        self.used_at.load(Ordering::Relaxed) > self.noted_at.load(Ordering::Relaxed)
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, Vec<Peer>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            access::{NewKey, Quotas, Scope},
            name::Name,
        },
        fixtures::{Stand, soon},
    };

    fn new(name: &str) -> NewKey {
        NewKey {
            name: Name::parse(name).unwrap(),
            scopes: vec![Scope::Read],
            datasets: None,
            models: None,
            quotas: Quotas::default(),
            expires_at: None,
        }
    }

    fn peer(address: &str) -> Peer {
        Peer::of(address.parse().unwrap(), &[])
    }

    #[tokio::test]
    async fn a_key_is_known_by_its_secret_from_the_moment_it_is_read() {
        let stand = Stand::new().await;
        let keyring = Keyring::open(stand.store.clone()).await.unwrap();
        assert!(!keyring.is_needed() && !keyring.has_good_key());
        let secret = Secret::draw().unwrap();
        let key = stand
            .store
            .create_key(new("one"), secret.digest(), 9)
            .await
            .unwrap();
        assert!(keyring.find(&secret).is_none());
        keyring.refresh().await.unwrap();
        assert_eq!(keyring.find(&secret).unwrap().key, key);
        assert!(keyring.find(&Secret::draw().unwrap()).is_none());
        assert!(keyring.is_needed() && keyring.has_good_key());
    }

    #[tokio::test]
    async fn a_revoked_key_ends_what_goes_on_with_it_and_leaves_the_door_shut() {
        let stand = Stand::new().await;
        let secret = Secret::draw().unwrap();
        stand
            .store
            .create_key(new("one"), secret.digest(), 9)
            .await
            .unwrap();
        let keyring = Keyring::open(stand.store.clone()).await.unwrap();
        let held = keyring.find(&secret).unwrap();
        // As `finetuned keys` does it, beside the server.
        let stopping = CancellationToken::new();
        let running = tokio::spawn(keyring.clone().run(stopping.clone()));
        stand.store.revoke_key("one", None).await.unwrap();
        soon(held.ends()).await;
        assert!(keyring.find(&secret).unwrap().key.revoked_at.is_some());
        assert!(keyring.is_needed() && !keyring.has_good_key());
        stopping.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn an_expired_key_ends_what_goes_on_with_it() {
        let stand = Stand::new().await;
        let secret = Secret::draw().unwrap();
        let new = NewKey {
            expires_at: Some(Timestamp(Timestamp::now().0 + 50)),
            ..new("one")
        };
        stand.store.create_key(new, secret.digest(), 9).await.unwrap();
        let keyring = Keyring::open(stand.store.clone()).await.unwrap();
        soon(keyring.find(&secret).unwrap().ends()).await;
        assert!(!keyring.has_good_key());
    }

    #[tokio::test]
    async fn uses_are_noted_together_and_outlive_a_reading() {
        let stand = Stand::new().await;
        let (store, secret) = (&stand.store, Secret::draw().unwrap());
        store.create_key(new("one"), secret.digest(), 9).await.unwrap();
        let keyring = Keyring::open(store.clone()).await.unwrap();
        keyring
            .find(&secret)
            .unwrap()
            .used(peer("10.0.0.1"), Timestamp(5000));
        store
            .create_key(new("two"), Secret::draw().unwrap().digest(), 9)
            .await
            .unwrap();
        keyring.refresh().await.unwrap();
        let held = keyring.find(&secret).unwrap();
        assert_eq!(held.last_used_at(), Some(Timestamp(5000)));
        assert!(held.is_familiar(peer("10.0.0.1")) && !held.is_familiar(peer("10.0.0.2")));
        assert_eq!(store.key("one").await.unwrap().last_used_at, None);
        keyring.note_uses().await.unwrap();
        assert_eq!(
            store.key("one").await.unwrap().last_used_at,
            Some(Timestamp(5000))
        );
        assert!(!held.life.is_to_note());
    }

    #[tokio::test]
    async fn a_key_remembers_few_addresses() {
        let stand = Stand::new().await;
        let secret = Secret::draw().unwrap();
        stand
            .store
            .create_key(new("one"), secret.digest(), 9)
            .await
            .unwrap();
        let keyring = Keyring::open(stand.store.clone()).await.unwrap();
        let held = keyring.find(&secret).unwrap();
        for number in 0..=ADDRESSES {
            held.used(peer(&format!("10.0.0.{number}")), Timestamp(1));
        }
        assert!(!held.is_familiar(peer("10.0.0.0")) && held.is_familiar(peer("10.0.0.1")));
    }
}
