//! At most one request at a time works on an upload. One whose client went away without a word gives way to the next.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::id::UploadId,
    error::{Error, Kind, Result},
    files::digest::Hasher,
};

/// Running hashes that are kept; without one a file is read again.
const MOST_HASHERS: usize = 1000;

/// Who works on which upload.
#[derive(Clone)]
pub struct Holds {
    state: Arc<Mutex<State>>,
    /// A request to which nothing came for this long has to give way,
    silence: Duration,
    /// and may take this long for it.
    give_way: Duration,
}

#[derive(Default)]
struct State {
    held: HashMap<UploadId, Held>,
    hashers: HashMap<UploadId, Hasher>,
}

#[derive(Clone)]
struct Held {
    last_heard: Arc<Mutex<Instant>>,
    give_way: CancellationToken,
    released: CancellationToken,
}

/// The right to work on an upload, until it is dropped.
pub struct Hold {
    upload: UploadId,
    holds: Holds,
    held: Held,
}

impl Holds {
    pub fn new(silence: Duration, give_way: Duration) -> Self {
        Self {
            state: Arc::default(),
            silence,
            give_way,
        }
    }

    /// Takes the upload.
    ///
    /// # Errors
    /// `upload-locked` while another request is working on it.
    pub async fn take(&self, upload: UploadId) -> Result<Hold> {
        for _ in 0..2 {
            let holder = match self.try_take(upload) {
                Ok(hold) => return Ok(hold),
                Err(holder) => holder,
            };
            if lock(&holder.last_heard).elapsed() < self.silence {
                break;
            }
            holder.give_way.cancel();
            if timeout(self.give_way, holder.released.cancelled()).await.is_err() {
                break;
            }
        }
        let detail = "another request is sending bytes of this upload; wait until it has ended";
        Err(Error::new(Kind::Locked, "upload-locked", detail).retry_after(self.silence))
    }

    fn try_take(&self, upload: UploadId) -> std::result::Result<Hold, Held> {
        let mut state = lock(&self.state);
        if let Some(holder) = state.held.get(&upload) {
            return Err(holder.clone());
        }
        let held = Held {
            last_heard: Arc::new(Mutex::new(Instant::now())),
            give_way: CancellationToken::new(),
            released: CancellationToken::new(),
        };
        state.held.insert(upload, held.clone());
        Ok(Hold {
            upload,
            holds: self.clone(),
            held,
        })
    }
}

impl Hold {
    /// Bytes came.
    pub fn heard(&self) {
        *lock(&self.held.last_heard) = Instant::now();
    }

    /// Fires when another request asks for the upload and this one has been silent.
    pub fn give_way(&self) -> &CancellationToken {
        &self.held.give_way
    }

    /// The running hash that the last request left.
    pub fn recall(&self) -> Option<Hasher> {
        lock(&self.holds.state).hashers.remove(&self.upload)
    }

    /// Keeps the running hash for the next request.
    pub fn remember(&self, hasher: Hasher) {
        let mut state = lock(&self.holds.state);
        if state.hashers.len() >= MOST_HASHERS {
            state.hashers.clear();
        }
        state.hashers.insert(self.upload, hasher);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.holds.state).held.remove(&self.upload);
        self.held.released.cancel();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_busy_request_is_left_alone() {
        let (holds, upload) = (Holds::new(LONG, LONG), UploadId::new());
        let first = holds.take(upload).await.unwrap();
        holds.take(UploadId::new()).await.unwrap();
        let refused = holds.take(upload).await.err().unwrap();
        assert_eq!(refused.slug(), "upload-locked");
        assert!(!first.give_way().is_cancelled());
        drop(first);
        holds.take(upload).await.unwrap();
    }

    #[tokio::test]
    async fn a_silent_request_gives_way_and_leaves_its_hash() {
        let (holds, upload) = (Holds::new(Duration::ZERO, LONG), UploadId::new());
        let first = holds.take(upload).await.unwrap();
        tokio::spawn(async move {
            first.give_way().cancelled().await;
            first.remember(Hasher::new());
        });
        let second = holds.take(upload).await.unwrap();
        assert!(second.recall().is_some());
        assert!(second.recall().is_none());
    }

    #[tokio::test]
    async fn one_that_does_not_give_way_keeps_its_upload() {
        let (holds, upload) = (Holds::new(Duration::ZERO, Duration::ZERO), UploadId::new());
        let _first = holds.take(upload).await.unwrap();
        assert_eq!(holds.take(upload).await.err().unwrap().slug(), "upload-locked");
    }
}
