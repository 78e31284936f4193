//! What is waiting for disk space.

use std::{
    collections::HashMap,
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

/// The ids of jobs and datasets that wait for disk space.
#[derive(Clone, Default)]
pub struct DiskWaits(Arc<Mutex<HashMap<String, u32>>>);

/// Something waits as long as this exists.
pub struct DiskWait {
    waits: DiskWaits,
    id: String,
}

impl DiskWaits {
    pub fn begin(&self, who: &impl Display) -> DiskWait {
        let id = who.to_string();
        tracing::warn!(%id, "the disk is full: waiting for space");
        *self.counts().entry(id.clone()).or_default() += 1;
        DiskWait {
            waits: self.clone(),
            id,
        }
    }

    pub fn contains(&self, who: &impl Display) -> bool {
        self.counts().contains_key(&who.to_string())
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DiskWait {
    fn drop(&mut self) {
        let mut counts = self.waits.counts();
        if let Some(count) = counts.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.id);
                tracing::info!(id = self.id, "the disk has space again: continuing");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_known_until_the_last_reason_has_gone() {
        let waits = DiskWaits::default();
        let (first, second) = (waits.begin(&"job"), waits.begin(&"job"));
        assert!(waits.contains(&"job") && !waits.contains(&"another"));
        drop(first);
        assert!(waits.contains(&"job"));
        drop(second);
        assert!(!waits.contains(&"job"));
    }
}
