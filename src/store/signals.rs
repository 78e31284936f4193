//! "Look again": wake-ups for those who wait for something in the database to change.
//!
//! A signal carries nothing and may come too often; it never comes too late, because it is given after the commit and a waiter
//! subscribes before it looks.

use std::{collections::HashMap, sync::Mutex};

use tokio::sync::watch;

use crate::domain::id::{DatasetId, JobId};

/// What may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// There may be a job to claim.
    Queue,
    /// There may be an archive to read.
    Uploads,
    /// There may be something to tell a webhook.
    Outbox,
    Dataset(DatasetId),
    /// A job's row or its events.
    Job(JobId),
}

/// All topics that somebody waits for.
#[derive(Default)]
pub struct Signals {
    topics: Mutex<HashMap<Topic, watch::Sender<()>>>,
}

impl Signals {
    /// Subscribe first, look second, wait third.
    pub fn subscribe(&self, topic: Topic) -> watch::Receiver<()> {
        let mut topics = self
            .topics
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        topics.retain(|_, sender| sender.receiver_count() > 0);
        topics
            .entry(topic)
            .or_insert_with(|| watch::channel(()).0)
            .subscribe()
    }

    pub fn notify(&self, topic: Topic) {
        let topics = self
            .topics
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(sender) = topics.get(&topic) {
            sender.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_hears_its_topic_and_no_other() {
        let signals = Signals::default();
        let mut uploads = signals.subscribe(Topic::Uploads);
        let queue = signals.subscribe(Topic::Queue);
        signals.notify(Topic::Uploads);
        uploads.changed().await.unwrap();
        assert!(!queue.has_changed().unwrap());
    }
}
