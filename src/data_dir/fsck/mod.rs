//! `finetuned fsck`: says what lies where in a data directory, and changes nothing in it.
//!
//! Beside a running server it reads the database as any reader does. Where no server runs and the database is not in one file, or is of an
//! earlier version, a copy of it is read, outside the directory: reading a log of writes would otherwise leave files there.

mod report;

use std::{collections::HashSet, fs, io, path::Path};

use anyhow::Context;
use tempfile::TempDir;

pub use self::report::Report;
use self::report::{Amount, Deep, Files, Identities};
use super::{DATABASE, Lock, OURS, identity_file};
use crate::{
    blobs::Blobs,
    domain::{
        data_directory::{FoundDatabase, FoundFile},
        id::{DatasetId, JobId, UploadId},
        jobs::ledger::Ledger,
    },
    files::{digest, private},
    store::Store,
};

/// Looks through a data directory; `deep` reads every blob and compares it with the digest that it is named by.
///
/// # Errors
/// There is no such directory, or the disk fails. What is wrong with what lies there is in the report.
pub async fn fsck(path: &Path, deep: bool) -> anyhow::Result<Report> {
    let path = path
        .canonicalize()
        .with_context(|| format!("there is no data directory {}", path.display()))?;
    let lock = Lock::try_without_a_trace(&path)?;
    let is_served = lock.is_none();
    let mut report = Report::of(&path, is_served);
    report.database.supported = Store::newest_migration();
    let database = look(&path, &mut report).await;
    let file = identity_file::read(&path)?;
    if let Some(database) = &database {
        report.identity = Identities::of(database, &file);
        report.database.migration = migration(database);
        report.mismatch = mismatch(&path, database, &file);
    }
    let blobs = Blobs::at(&path);
    let ledger = match &database {
        Some(FoundDatabase::Ours { migration, .. }) if *migration <= Store::newest_migration() => {
            rows(&path, *migration, is_served, &mut report).await?
        }
        _ => None,
    };
    count_blobs(&blobs, ledger.as_ref(), &mut report)?;
    report.trash = Amount::of(&path.join("trash"))?;
    report.spool = Amount::of(&path.join("spool"))?;
    report.open_to_others = OURS
        .iter()
        .map(|name| path.join(name))
        .filter(|path| {
            path.symlink_metadata()
                .is_ok_and(|metadata| !metadata.is_symlink())
        })
        .map(|path| private::count_open(&path))
        .sum();
    if deep {
        report.deep = Some(rehash(&blobs)?);
    }
    report.conclude();
    Ok(report)
}

/// None where the database cannot be read at all.
async fn look(path: &Path, report: &mut Report) -> Option<FoundDatabase> {
    match Store::look(&path.join(DATABASE)).await {
        Ok(found) => Some(found),
        Err(error) => {
            report.database.faults.push(format!("{error:#}"));
            None
        }
    }
}

fn migration(database: &FoundDatabase) -> Option<i64> {
    match database {
        FoundDatabase::Ours { migration, .. } => Some(*migration),
        _ => None,
    }
}

/// Why a server would refuse it.
fn mismatch(path: &Path, database: &FoundDatabase, file: &FoundFile) -> Option<String> {
    if migration(database).is_some_and(|migration| migration > Store::newest_migration()) {
        return Some("finetuned.db was made by a newer version of finetuned".to_owned());
    }
    match super::judge(path, database, file) {
        Ok(judged) => judged.err().map(|mismatch| mismatch.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// Everything that only the rows can tell. None where they cannot be read.
async fn rows(
    path: &Path,
    migration: i64,
    is_served: bool,
    report: &mut Report,
) -> anyhow::Result<Option<Ledger>> {
    let (store, _copied) = match open_to_look(path, migration, is_served).await {
        Ok(opened) => opened,
        Err(error) => {
            report.database.faults.push(format!("{error:#}"));
            return Ok(None);
        }
    };
    let read = read_rows(path, &store, report).await;
    store.close().await;
    match read {
        Ok(ledger) => Ok(Some(ledger)),
        Err(error) => {
            report
                .database
                .faults
                .push(format!("its rows cannot be read: {error:#}"));
            Ok(None)
        }
    }
}

/// The rows, for reading: of the directory itself, or of a copy, which lives as long as its folder.
///
/// # Errors
/// It cannot be opened or copied.
pub(super) async fn open_to_look(
    path: &Path,
    migration: i64,
    is_served: bool,
) -> anyhow::Result<(Store, Option<TempDir>)> {
    if is_served || (!has_log(path) && migration == Store::newest_migration()) {
        return Ok((Store::open_to_read(&path.join(DATABASE)).await?, None));
    }
    let copied = copy(path)?;
    Ok((Store::open(&copied.path().join(DATABASE)).await?, Some(copied)))
}

async fn read_rows(path: &Path, store: &Store, report: &mut Report) -> anyhow::Result<Ledger> {
    report.database.faults.extend(store.faults().await?);
    report.database.newest = store.newest_time().await?;
    let jobs: HashSet<JobId> = store.unfinished_jobs().await?.into_iter().collect();
    let datasets: HashSet<DatasetId> = store.processing_datasets().await?.into_iter().collect();
    let uploads: HashSet<UploadId> = store.unfinished_uploads().await?.into_iter().collect();
    report.uploads = Files::of(&path.join("uploads"), |name| {
        name.parse().is_ok_and(|upload| uploads.contains(&upload))
    })?;
    report.runs = Files::of(&path.join("runs"), |name| {
        name.parse().is_ok_and(|job| jobs.contains(&job))
            || name.parse().is_ok_and(|dataset| datasets.contains(&dataset))
    })?;
    let mut ledger = store.ledger().await?;
    if report.is_served {
        // What was let go since is no more missing.
        let blobs = Blobs::at(path);
        let missing = super::missing(&ledger, &blobs)?;
        if !missing.is_empty() {
            ledger = store.ledger().await?;
        }
    }
    Ok(ledger)
}

fn has_log(path: &Path) -> bool {
    fs::metadata(path.join("finetuned.db-wal")).is_ok_and(|log| log.len() > 0)
}

/// The database with its log of writes, elsewhere.
fn copy(path: &Path) -> io::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::copy(path.join(DATABASE), folder.path().join(DATABASE))?;
    if has_log(path) {
        let log = "finetuned.db-wal";
        fs::copy(path.join(log), folder.path().join(log))?;
    }
    Ok(folder)
}

fn count_blobs(blobs: &Blobs, ledger: Option<&Ledger>, report: &mut Report) -> anyhow::Result<()> {
    let present = blobs.present()?;
    let bytes = |sha256: &String| fs::metadata(blobs.path(sha256)).map_or(0, |file| file.len());
    let Some(ledger) = ledger else {
        report.blobs.unknown = Amount::sum(present.iter().map(bytes));
        return Ok(());
    };
    let (named, unnamed): (Vec<_>, Vec<_>) =
        present.iter().partition(|sha256| ledger.named.contains(*sha256));
    report.blobs.present = Amount::sum(named.into_iter().map(bytes));
    report.blobs.unreferenced = Amount::sum(unnamed.into_iter().map(bytes));
    report.blobs.missing = super::missing(ledger, blobs)?;
    let in_trash = blobs.discarded()?;
    report.blobs.missing_in_trash = report
        .blobs
        .missing
        .iter()
        .filter(|sha256| in_trash.contains(*sha256))
        .count() as u64;
    if let Some(mismatch) = blobs.check(ledger)? {
        report.mismatch.get_or_insert(mismatch.to_string());
    }
    Ok(())
}

fn rehash(blobs: &Blobs) -> io::Result<Deep> {
    let mut deep = Deep::default();
    for sha256 in blobs.present()? {
        match digest::of_file(&blobs.path(&sha256)) {
            // A sweep took it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // The disk cannot read it: that is what is looked for.
            Err(_) => deep.damaged.push(sha256),
            Ok((found, _)) if found != sha256 => deep.damaged.push(sha256),
            Ok(_) => {}
        }
        deep.read += 1;
    }
    Ok(deep)
}
