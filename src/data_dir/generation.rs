//! Moves a data directory's generation on: at every start, at every stop in order, and in between soon after blobs were added or taken
//! away. So a database out of a backup is of an earlier generation than the directory as soon as the two differ in their blobs.
//!
//! A backup made before the last change is noticed unless that change was in the last [`PAUSE`] before a crash. Moving on with every
//! change would notice that too, and would cost every upload three more syncs of the disk.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::identity_file;
use crate::{
    blobs::Blobs,
    domain::data_directory::{Beside, FoundFile, Identity},
    store::Store,
};

/// Shortest time between two generations.
const PAUSE: Duration = Duration::from_secs(5);

/// The generations of one open data directory.
pub struct Generations {
    data_dir: PathBuf,
    store: Store,
    blobs: Blobs,
    /// In the database.
    identity: Identity,
    /// In the file: the same or, where that could not be written, an earlier one.
    written: Option<Beside>,
    /// It was said that it cannot be written.
    is_stuck: bool,
}

impl Generations {
    /// Goes on where the directory is, or makes its first identity, and begins the next generation. The two sides belong together.
    pub(super) async fn begin(
        data_dir: &Path,
        store: Store,
        blobs: Blobs,
        file: &FoundFile,
    ) -> anyhow::Result<Self> {
        let identity = match store.identity().await? {
            Some(identity) => identity,
            None => {
                let first = Identity::first();
                store.set_identity(first.clone()).await?;
                first
            }
        };
        let mut generations = Self {
            data_dir: data_dir.to_owned(),
            store,
            blobs,
            identity,
            written: match file {
                FoundFile::Whole(beside) => Some(beside.clone()),
                _ => None,
            },
            is_stuck: false,
        };
        // First what a crash left undone: the file is never more than one behind.
        let begun = match generations.write_file().await {
            Ok(()) => generations.move_on().await,
            unwritten => unwritten,
        };
        if let Err(error) = begun {
            // A full disk is no reason to refuse: those who delete something make room, and this is tried again.
            generations.tell(error);
        }
        Ok(generations)
    }

    /// Follows the blobs until `shutdown` fires.
    pub async fn run(mut self, shutdown: CancellationToken) -> Self {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return self,
                () = self.blobs.changed() => {}
            }
            match self.move_on().await {
                Ok(()) => self.is_stuck = false,
                Err(error) => self.tell(error),
            }
            tokio::select! {
                () = shutdown.cancelled() => return self,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// To be called when nothing adds blobs any more and the database is still open.
    pub async fn end(mut self) {
        if let Err(error) = self.move_on().await {
            let error = format!("{error:#}");
            tracing::debug!(error, "cannot record the last generation");
        }
    }

    /// Says so, once and not every few seconds. It is tried again after the next pause.
    fn tell(&mut self, error: anyhow::Error) {
        if !self.is_stuck {
            let error = format!("{error:#}");
            tracing::warn!(error, "cannot advance the data directory's generation; retrying");
        }
        self.is_stuck = true;
        self.blobs.expect_change();
    }

    async fn move_on(&mut self) -> anyhow::Result<()> {
        if self.written.as_ref() == Some(&self.identity.beside()) {
            let next = self.identity.next();
            self.store.set_identity(next.clone()).await?;
            self.identity = next;
        }
        self.write_file().await?;
        // Blobs that have their rows by now are no leavings of a crash.
        let store = self.store.clone();
        self.blobs
            .settle(|| async move { store.referenced_blobs().await })
            .await?;
        Ok(())
    }

    async fn write_file(&mut self) -> anyhow::Result<()> {
        let beside = self.identity.beside();
        if self.written.as_ref() == Some(&beside) {
            return Ok(());
        }
        let (data_dir, new) = (self.data_dir.clone(), beside.clone());
        tokio::task::spawn_blocking(move || identity_file::write(&data_dir, &new))
            .await?
            .with_context(|| format!("cannot write {}", identity_file::NAME))?;
        self.written = Some(beside);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        data_dir::look,
        domain::data_directory::{FoundDatabase, Standing, judge},
        fixtures::soon,
    };

    async fn open(data_dir: &Path) -> Generations {
        let blobs = Blobs::open(data_dir).unwrap();
        let store = Store::open(&data_dir.join("finetuned.db")).await.unwrap();
        let file = identity_file::read(data_dir).unwrap();
        Generations::begin(data_dir, store, blobs, &file).await.unwrap()
    }

    async fn standing(data_dir: &Path) -> (u64, Standing) {
        let (database, file) = look(data_dir).await.unwrap();
        let FoundDatabase::Ours {
            identity: Some(identity),
            ..
        } = &database
        else {
            panic!("{database:?}");
        };
        (identity.generation, judge(&database, &file, true).unwrap())
    }

    #[tokio::test]
    async fn every_start_and_every_change_is_a_generation() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path();
        let generations = open(data_dir).await;
        assert_eq!(generations.identity.generation, 2);
        let (blobs, store) = (generations.blobs.clone(), generations.store.clone());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(generations.run(shutdown.clone()));
        drop(blobs.pin().await);
        soon(async {
            while store.identity().await.unwrap().unwrap().generation < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        shutdown.cancel();
        running.await.unwrap().end().await;
        store.close().await;
        assert_eq!(standing(data_dir).await, (4, Standing::Fits));
        let generations = open(data_dir).await;
        assert_eq!(generations.identity.generation, 5);
    }

    /// The file cannot be written for a while: its folder has something else in that place.
    #[tokio::test]
    async fn a_file_that_cannot_be_written_stays_one_behind_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path();
        let mut generations = open(data_dir).await;
        let obstacle = data_dir.join("IDENTITY.json.partial");
        fs::create_dir(&obstacle).unwrap();
        for _ in 0..3 {
            generations.move_on().await.unwrap_err();
            assert_eq!(standing(data_dir).await, (3, Standing::Fits));
        }
        fs::remove_dir(&obstacle).unwrap();
        generations.move_on().await.unwrap();
        assert_eq!(standing(data_dir).await, (3, Standing::Fits));
        generations.move_on().await.unwrap();
        assert_eq!(standing(data_dir).await, (4, Standing::Fits));
        generations.store.close().await;
        // The same at a start.
        fs::create_dir(&obstacle).unwrap();
        for _ in 0..2 {
            let generations = open(data_dir).await;
            generations.store.close().await;
            assert_eq!(standing(data_dir).await, (5, Standing::Fits));
        }
    }
}
