//! Named locks: one holder per name, independent of other names.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

pub struct Locks<K>(Mutex<HashMap<K, Weak<Lock<()>>>>);

impl<K: Eq + Hash> Locks<K> {
    pub fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Waits until the lock of this name is free.
    pub async fn hold(&self, name: K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(&name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(Lock::new(()));
                locks.insert(name, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_those_of_one_name_wait_for_each_other() {
        let locks = Locks::new();
        let held = locks.hold("a").await;
        locks.hold("b").await;
        let waiting = tokio::time::timeout(Duration::from_millis(20), locks.hold("a"));
        assert!(waiting.await.is_err());
        drop(held);
        locks.hold("a").await;
        locks.hold("c").await;
        assert_eq!(locks.0.lock().unwrap().len(), 1, "unused names are removed");
    }
}
