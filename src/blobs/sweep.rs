//! Taking away what no row names: to the trash, and from there for good when its time is up.

use std::{collections::HashSet, fs, io, path::Path, time::Duration};

use super::folder::{Blobs, blocking};
use crate::{
    domain::{data_directory::Mismatch, jobs::ledger::Ledger},
    error::Result,
    files::digest,
};

/// How long what is swept is kept aside, and when it is not.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    pub time: Duration,
    /// Space that is to stay free. With little more than that the trash is emptied early.
    pub reserve: u64,
}

/// What a sweep did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs that went to the trash.
    pub discarded: u64,
    /// Blobs that can be made again and so went for good.
    pub removed: u64,
    /// Blobs that a row names and that lay in the trash.
    pub put_back: u64,
    /// Blobs of the trash whose time was up.
    pub expired: u64,
    /// And those that went before their time, because the disk is nearly full.
    pub expired_early: u64,
    /// Blobs of which nobody knows anything and that went to the trash with the others.
    pub strays: u64,
    /// There are too many of those: then they stay where they are.
    pub doubt: Option<Mismatch>,
    /// When the next blob's time in the trash is up.
    pub next: Option<Duration>,
    /// Digests that need no longer be listed as let go.
    pub done: Vec<String>,
}

impl Blobs {
    /// Takes every blob away that the ledger does not name, as far as it can be believed; the caller reads it while this holds the lock.
    pub async fn sweep<F>(&self, grace: Grace, ledger: impl FnOnce() -> F) -> Result<Swept>
    where
        F: Future<Output = Result<Ledger>>,
    {
        let _nobody_adds = self.unswept.write().await;
        let ledger = ledger().await?;
        let blobs = self.clone();
        let swept = blocking(move || blobs.sweep_now(grace, &ledger)).await?;
        if swept.discarded + swept.removed > 0 {
            self.changed.notify_one();
        }
        Ok(swept)
    }

    /// Notes which of the blobs that were put in place lately have their rows by now: from then on they are no leavings of a crash. Does
    /// nothing while somebody adds blobs, and makes nobody wait.
    pub async fn settle<F>(&self, named: impl FnOnce() -> F) -> Result<()>
    where
        F: Future<Output = Result<HashSet<String>>>,
    {
        let Ok(_nobody_adds) = self.unswept.try_write() else {
            return Ok(());
        };
        let placed = self.placed.clone();
        if blocking(move || placed.read()).await?.is_empty() {
            return Ok(());
        }
        let (placed, named) = (self.placed.clone(), named().await?);
        blocking(move || placed.strike(&named)).await
    }

    fn sweep_now(&self, grace: Grace, ledger: &Ledger) -> io::Result<Swept> {
        let mut swept = Swept {
            put_back: self.put_back(&ledger.named)?,
            ..Swept::default()
        };
        let present = self.present()?;
        let unnamed = ledger.unnamed(&present, &self.placed.read()?);
        swept.doubt = unnamed.check(present.len()).err();
        for sha256 in &unnamed.explained {
            let path = self.path(sha256);
            if ledger.released.get(sha256) == Some(&true) {
                fs::remove_file(path)?;
                swept.removed += 1;
                continue;
            }
            match self.trash.take(sha256, &path) {
                // Not even its name has room: what was let go makes room now.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => fs::remove_file(path)?,
                moved => moved?,
            }
            swept.discarded += 1;
        }
        if swept.doubt.is_none() {
            for sha256 in &unnamed.strays {
                self.trash.take(sha256, &self.path(sha256))?;
                swept.strays += 1;
            }
            swept.discarded += swept.strays;
        }
        self.placed.clear()?;
        (swept.expired, swept.next) = self.trash.expire(grace.time)?;
        swept.expired_early = self.keep_free(grace.reserve)?;
        let is_done = |sha256: &&String| !ledger.named.contains(*sha256);
        swept.done = ledger.released.keys().filter(is_done).cloned().collect();
        Ok(swept)
    }

    /// Puts blobs back that rows name and that lie in the trash: the database is another one than that which let them go.
    pub fn put_back(&self, named: &HashSet<String>) -> io::Result<u64> {
        let mut moved = 0;
        self.trash.each(|sha256, _| {
            if !named.contains(sha256) {
                return Ok(());
            }
            let path = self.path(sha256);
            if path.exists() {
                return self.trash.forget(sha256);
            }
            self.make_folder_of(&path)?;
            moved += u64::from(self.trash.put_back(sha256, &path)?);
            Ok(())
        })?;
        Ok(moved)
    }

    /// How many blobs no row names and nobody let go, if those are too many to be taken for leavings of a crash.
    pub fn check(&self, ledger: &Ledger) -> io::Result<Option<Mismatch>> {
        let present = self.present()?;
        Ok(ledger
            .unnamed(&present, &self.placed.read()?)
            .check(present.len())
            .err())
    }

    /// Moves everything that no row names to the trash, whether anybody knows of it or not. How many that were.
    pub fn discard_unnamed(&self, named: &HashSet<String>) -> io::Result<u64> {
        let mut discarded = 0;
        for sha256 in self.present()? {
            if !named.contains(&sha256) {
                self.trash.take(&sha256, &self.path(&sha256))?;
                discarded += 1;
            }
        }
        self.placed.clear()?;
        Ok(discarded)
    }

    /// Digests of all blobs that are there. What has another name is not ours.
    pub fn present(&self) -> io::Result<Vec<String>> {
        list(&self.blobs)
    }

    /// Digests of all blobs in the trash.
    pub fn discarded(&self) -> io::Result<HashSet<String>> {
        self.trash.names()
    }

    /// Blobs that the next sweep takes away, with those that rows stop naming before it: digests. Beside a server, what was put in place lately
    /// may get its row in this moment, and does not count.
    pub fn sweepable(
        &self,
        ledger: &Ledger,
        stop_naming: &[String],
        is_served: bool,
    ) -> io::Result<Vec<String>> {
        let (present, placed) = (self.present()?, self.placed.read()?);
        let unnamed = ledger.unnamed(&present, &placed);
        let is_believed = unnamed.check(present.len()).is_ok();
        let mut all = unnamed.explained;
        all.retain(|sha256| !is_served || !placed.contains(sha256));
        all.extend(unnamed.strays.into_iter().filter(|_| is_believed));
        all.extend(present.into_iter().filter(|sha256| stop_naming.contains(sha256)));
        Ok(all)
    }

    /// Blobs in the trash whose time is up: how many, and their bytes.
    pub fn expired(&self, grace: Duration) -> io::Result<(u64, u64)> {
        self.trash.expired(grace)
    }

    /// Makes the folder of the trash where it is not there.
    pub fn make_trash(&self) -> io::Result<()> {
        self.trash.create()
    }

    /// Empties the trash as far as the disk needs it. How many blobs went.
    pub async fn make_room(&self, reserve: u64) -> Result<u64> {
        let blobs = self.clone();
        blocking(move || blobs.keep_free(reserve)).await
    }

    /// Empties the trash, the oldest first, until so much is free and a little more; it is not kept at the cost of work.
    fn keep_free(&self, reserve: u64) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.blobs)?;
        let hundredth = disk.f_blocks.saturating_mul(disk.f_frsize) / 100;
        self.free_at_least(reserve.saturating_mul(2).saturating_add(hundredth))
    }

    /// Empties the trash, the oldest first, until so much is free. How many blobs went.
    pub(super) fn free_at_least(&self, bytes: u64) -> io::Result<u64> {
        match bytes.checked_sub(self.free_bytes()?) {
            None | Some(0) => Ok(0),
            Some(lacking) => self.trash.free(lacking),
        }
    }
}

/// Digests of the blobs in a folder of blobs; none where it is not there.
pub(super) fn list(blobs: &Path) -> io::Result<Vec<String>> {
    let mut present = Vec::new();
    let folders = match fs::read_dir(blobs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(present),
        folders => folders?,
    };
    for folder in folders {
        let folder = folder?;
        let name = folder.file_name();
        let Some(beginning) = name.to_str().filter(|name| name.len() == 2) else {
            continue;
        };
        if !folder.path().is_dir() {
            continue;
        }
        for blob in fs::read_dir(folder.path())? {
            let name = blob?.file_name();
            if let Some(name) = name.to_str()
                && name.starts_with(beginning)
                && digest::is_digest(name)
            {
                present.push(name.to_owned());
            }
        }
    }
    Ok(present)
}
