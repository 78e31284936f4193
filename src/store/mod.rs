//! The database: the only place with SQL. Each method is one whole act; no transaction and no sqlx type leaves this module.
//!
//! One connection writes (`write.rs`), several read. The file is opened in WAL with `synchronous=FULL`: what a method has returned is
//! on disk.

mod access;
mod activations;
mod aliases;
mod ballast;
mod datasets;
#[cfg(test)]
pub mod faulty_disk;
mod jobs;
mod models;
mod new_dataset;
mod packs;
mod recency;
mod references;
mod row;
pub mod signals;
mod sinks;
mod uploads;
mod versions;
mod whole;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use sqlx::{
    SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

pub use self::{
    access::{
        answers::{BodyRead, IdempotencyKey, KeptAnswer, mismatch},
        audit::AuditFilter,
        keys::StoredKey,
        quotas::Room,
    },
    activations::NewActivations,
    aliases::{AliasBounds, AliasSet, Presumed},
    ballast::Ballast,
    datasets::DatasetToIngest,
    jobs::{
        ends::{CancelOutcome, Interruption},
        events::{CurveOutline, JobUpdate, MetricPoint},
        job::{CreatedJob, JobCensus, JobFilter, JobKey, NewJob},
        queue::ClaimedJob,
        retention::{OldRows, UnusedDataset},
    },
    models::{ImportedModel, ModelBlobs, ModelEdit, NewModel},
    new_dataset::{CreatedDataset, NewDataset},
    packs::NewPack,
    signals::{Signals, Topic},
    sinks::{deliveries::DueDelivery, mlflow::DueRun, webhooks::SecretOf},
    uploads::NewUpload,
    versions::{NewVersion, SegmentFiles, StoredSegment, VersionFiles},
    whole::copies::Census,
};
use crate::error::{Error, Result};

/// Before 3.51.3 a race between two connections could corrupt a WAL database.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];
/// Each has its own caches and its own thread.
const READERS: u32 = 2;
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 48;
/// Whoever asks more often whether the database takes writes is told what was so a moment ago: asking must not wear out the disk.
const CHECK_EVERY: Duration = Duration::from_secs(1);

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_NOMEM: u32 = 7;
const SQLITE_IOERR: u32 = 10;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;

/// The database of one data directory. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    signals: Arc<Signals>,
    ballast: Option<Arc<Ballast>>,
    /// When [`Store::check_writable`] last wrote.
    written_at: Arc<Mutex<Option<Instant>>>,
    times: Arc<write::WriteTimes>,
    places: Arc<jobs::places::Places>,
    recent: Arc<jobs::recent::Recent>,
    /// The write-ahead log of the database.
    log: Option<Arc<PathBuf>>,
}

/// Where SQLite writes first.
fn log_of(file: &Path) -> Arc<PathBuf> {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    Arc::new(name.into())
}

impl Store {
    /// Opens the database file, made and migrated where needed.
    ///
    /// # Errors
    /// It cannot be opened, is damaged, is newer than this program, or SQLite itself is too old.
    pub async fn open(file: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .pragma("journal_size_limit", "67108864")
            // KiB of each connection: the kernel has the file's pages as well, and the server's memory is to stay as it is while the
            // database grows.
            .pragma("cache_size", "-256")
            .statement_cache_capacity(STATEMENTS)
            .foreign_keys(true);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await
            .context("cannot open the database")?;
        let prepared = prepare(&writer).await;
        if prepared.is_err() {
            // In order, so that nothing stays beside the file.
            writer.close().await;
        }
        prepared?;
        // All at once and for good: their caches are full after the first minutes, and memory that is given back in between would stay in
        // pieces.
        let readers = SqlitePoolOptions::new()
            .min_connections(READERS)
            .max_connections(READERS)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.read_only(true).pragma("query_only", "on"))
            .await
            .context("cannot open the database for reading")?;
        Ok(Self {
            writer,
            readers,
            signals: Arc::default(),
            ballast: None,
            written_at: Arc::default(),
            times: Arc::default(),
            places: Arc::default(),
            recent: Arc::default(),
            log: Some(log_of(file)),
        })
    }

    /// Opens the database file of this version to be looked at: nothing is written, and what would write fails.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_to_read(file: &Path) -> anyhow::Result<Self> {
        let readers = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(whole::identity::reading(file).pragma("query_only", "on"))
            .await
            .context("cannot open the database for reading")?;
        Ok(Self {
            writer: readers.clone(),
            readers,
            signals: Arc::default(),
            ballast: None,
            written_at: Arc::default(),
            times: Arc::default(),
            places: Arc::default(),
            recent: Arc::default(),
            log: Some(log_of(file)),
        })
    }

    /// Opens the database of this version beside a server that uses it, for a short act: nothing is made or migrated.
    ///
    /// # Errors
    /// It cannot be opened, or is of another version.
    pub async fn open_beside(file: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .context("cannot open the database")?;
        let migration: i64 = sqlx::query_scalar("select max(version) from _sqlx_migrations")
            .fetch_one(&writer)
            .await
            .context("cannot read the database")?;
        if migration != Self::newest_migration() {
            writer.close().await;
            bail!("the running server is of another version than this program: use its own");
        }
        Ok(Self {
            readers: writer.clone(),
            writer,
            signals: Arc::default(),
            ballast: None,
            written_at: Arc::default(),
            times: Arc::default(),
            places: Arc::default(),
            recent: Arc::default(),
            log: Some(log_of(file)),
        })
    }

    /// What SQLite finds wrong with the whole of the file, the first hundred faults; slow where it is large.
    pub async fn faults(&self) -> Result<Vec<String>> {
        let told: Vec<String> = sqlx::query_scalar("pragma integrity_check(100)")
            .fetch_all(&self.readers)
            .await?;
        Ok(told.into_iter().filter(|line| line != "ok").collect())
    }

    /// Wake-ups for those who wait for a row to change. They are hints: look again, do not trust.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// The same with space that is held back for what has to be written on a full disk too.
    pub fn with_ballast(self, ballast: Ballast) -> Self {
        Self {
            ballast: Some(Arc::new(ballast)),
            ..self
        }
    }

    /// Space that is held back, if any is.
    pub fn ballast(&self) -> Option<&Ballast> {
        self.ballast.as_deref()
    }

    /// Whether the database takes writes, for the readiness check: a page of it is written and synced, at most once a second.
    pub async fn check_writable(&self) -> Result<()> {
        let mut written_at = self.written_at.lock().await;
        if written_at.is_some_and(|at| at.elapsed() < CHECK_EVERY) {
            return Ok(());
        }
        self.write(|connection| {
            Box::pin(async move {
                // A number that nothing else uses; setting it writes the first page, whatever it was before.
                sqlx::query("pragma user_version = 1").execute(connection).await?;
                Ok(())
            })
        })
        .await?;
        *written_at = Some(Instant::now());
        Ok(())
    }

    /// Closes both pools after what is being written is written.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Looks at the database, and brings it up to date.
async fn prepare(writer: &SqlitePool) -> anyhow::Result<()> {
    assert_sound(writer).await?;
    match sqlx::migrate!().run(writer).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(_)) => {
            let newest: i64 = sqlx::query_scalar("select max(version) from _sqlx_migrations")
                .fetch_one(writer)
                .await?;
            bail!(
                "the database was made by a newer version of finetuned (migration {newest}; this one supports up to {}): start \
                that version, or restore a backup of the database that this version made",
                Store::newest_migration()
            )
        }
        Err(error) => Err(error).context("cannot migrate the database"),
    }
}

/// Refuses to start on what would lose data later.
async fn assert_sound(pool: &SqlitePool) -> anyhow::Result<()> {
    let version: String = sqlx::query_scalar("select sqlite_version()")
        .fetch_one(pool)
        .await?;
    let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    if numbers < OLDEST_SQLITE.to_vec() {
        bail!("SQLite {version} can corrupt a database in WAL mode; 3.51.3 or newer is needed");
    }
    let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(pool).await?;
    let synchronous: i64 = sqlx::query_scalar("pragma synchronous").fetch_one(pool).await?;
    if mode != "wal" || synchronous != 2 {
        bail!(
            "the database is in journal mode {mode}, synchronous {synchronous}; WAL and FULL are needed (is it on a network disk?)"
        );
    }
    let check: String = sqlx::query_scalar("pragma quick_check(1)")
        .fetch_one(pool)
        .await?;
    if check != "ok" {
        bail!("the database is damaged: restore it from a backup ({check})");
    }
    Ok(())
}

impl From<sqlx::Error> for Error {
    /// What SQLite says is for the operator; the caller learns whether to come back.
    fn from(error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(|error| error.code().map(|code| code.into_owned()));
        // The lower eight bits are the kind of failure, the others its details (https://www.sqlite.org/rescode.html).
        let kind = code
            .and_then(|code| code.parse::<u32>().ok())
            .map(|code| code & 0xff);
        match kind {
            Some(SQLITE_FULL) => {
                let detail = "the server's disk is full; delete datasets or models that are no longer needed and try again";
                Error::new(crate::error::Kind::DiskFull, "insufficient-storage", detail).with_context(error)
            }
            Some(SQLITE_BUSY | SQLITE_LOCKED) => {
                let detail = "the database is busy; try again in a moment";
                Error::new(crate::error::Kind::Unavailable, "storage-busy", detail)
                    .retry_after(Duration::from_secs(1))
                    .with_context(error)
            }
            Some(SQLITE_NOMEM | SQLITE_IOERR | SQLITE_CANTOPEN) => {
                let detail =
                    "the server cannot read or write its database at the moment; see its log for details";
                Error::new(crate::error::Kind::Unavailable, "storage-failed", detail)
                    .retry_after(Duration::from_secs(5))
                    .with_context(error)
            }
            _ => Error::internal(error),
        }
    }
}
