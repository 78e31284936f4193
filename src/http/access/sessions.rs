//! Browsers that have logged in with a key. A session's value is drawn by itself: it is not the key, opens nothing elsewhere, and ends by
//! itself, when somebody logs out, with its key, and with the server.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::{
        access::{Secret, SecretDigest},
        id::KeyId,
        time::Timestamp,
    },
    error::{Error, Result},
};

/// Longest time of a session, in seconds: a week.
pub const LIFE_SECONDS: i64 = 7 * 24 * 3600;
/// Sessions at the same time; the oldest one makes room.
const MOST: usize = 1000;

#[derive(Default)]
pub struct Sessions(Mutex<HashMap<u64, Session>>);

struct Session {
    digest: SecretDigest,
    key: KeyId,
    ends_at: Timestamp,
}

impl Sessions {
    /// Begins a session of a key; its value, for the browser alone.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn begin(&self, key: KeyId, now: Timestamp) -> Result<String> {
        // Drawn and checked as a key is, and without its beginning, so that nobody takes it for one.
        let secret = Secret::draw().map_err(Error::internal)?;
        let digest = secret.digest();
        let mut table = self.table();
        table.retain(|_, session| session.ends_at > now);
        if table.len() >= MOST {
            let oldest = table.iter().min_by_key(|(_, session)| session.ends_at);
            if let Some(oldest) = oldest.map(|(slot, _)| *slot) {
                table.remove(&oldest);
            }
        }
        let session = Session {
            digest,
            key,
            ends_at: Timestamp(now.0 + LIFE_SECONDS * 1000),
        };
        table.insert(digest.slot(), session);
        Ok(secret.reveal()[Secret::PREFIX.len()..].to_owned())
    }

    /// The key whose session this is.
    pub fn find(&self, value: &str, now: Timestamp) -> Option<KeyId> {
        let digest = digest(value)?;
        let table = self.table();
        let session = table.get(&digest.slot())?;
        (session.digest.is(&digest) && session.ends_at > now).then_some(session.key)
    }

    pub fn end(&self, value: &str) {
        let Some(digest) = digest(value) else { return };
        let mut table = self.table();
        if table
            .get(&digest.slot())
            .is_some_and(|session| session.digest.is(&digest))
        {
            table.remove(&digest.slot());
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(value: &str) -> Option<SecretDigest> {
    let secret = Secret::parse(&format!("{}{value}", Secret::PREFIX)).ok()?;
    Some(secret.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1000);

    #[test]
    fn a_session_is_its_keys_until_it_ends() {
        let (sessions, key) = (Sessions::default(), KeyId::new());
        let value = sessions.begin(key, NOW).unwrap();
        assert!(Secret::parse(&value).is_err(), "it looks like a key");
        let other = sessions.begin(KeyId::new(), NOW).unwrap();
        assert_eq!(sessions.find(&value, NOW), Some(key));
        assert_eq!(
            sessions.find(&value, Timestamp(NOW.0 + LIFE_SECONDS * 1000)),
            None
        );
        for wrong in ["", "ft_", &value[1..], &other[..71]] {
            assert_eq!(sessions.find(wrong, NOW), None, "{wrong}");
        }
        sessions.end(&value);
        assert_eq!(sessions.find(&value, NOW), None);
        assert!(sessions.find(&other, NOW).is_some());
    }

    #[test]
    fn the_oldest_makes_room() {
        let sessions = Sessions::default();
        let first = sessions.begin(KeyId::new(), NOW).unwrap();
        for number in 0..MOST as i64 {
            sessions
                .begin(KeyId::new(), Timestamp(NOW.0 + 1 + number))
                .unwrap();
        }
        assert_eq!(sessions.find(&first, NOW), None);
        assert_eq!(sessions.table().len(), MOST);
    }
}
