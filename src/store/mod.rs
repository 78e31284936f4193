//! The database: the only place with SQL. Each method is one whole act; no transaction and no sqlx type leaves this module.
//!
//! One connection writes, several read. A write runs in a task of its own, so that a client that goes away in the middle cannot leave
//! half a transaction behind. The file is opened in WAL with `synchronous=FULL`: what a method has returned is on disk.

mod activations;
mod aliases;
mod datasets;
mod events;
mod identity;
mod jobs;
mod models;
mod packs;
mod queue;
mod recency;
mod references;
mod row;
pub mod signals;
mod uploads;
mod versions;

use std::{future::Future, path::Path, pin::Pin, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use sqlx::{
    SqliteConnection, SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use self::{
    activations::NewActivations,
    aliases::{AliasBounds, AliasSet, Presumed},
    datasets::{CreatedDataset, DatasetToIngest, NewDataset},
    events::{JobUpdate, MetricPoint},
    jobs::{CreatedJob, IdempotencyKey, JobFilter, NewJob},
    models::{ImportedModel, ModelBlobs, ModelEdit, NewModel},
    packs::NewPack,
    queue::{CancelOutcome, ClaimedJob, Interruption},
    signals::{Signals, Topic},
    uploads::NewUpload,
    versions::{NewSegment, NewVersion, SegmentFiles, VersionFiles},
};
use crate::error::{Error, Result};

/// Before 3.51.3 a race between two connections could corrupt a WAL database.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];
const READERS: u32 = 4;

/// The database of one data directory. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    signals: Arc<Signals>,
}

/// A future that borrows the writing connection.
type Act<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

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
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true).pragma("query_only", "on"))
            .await
            .context("cannot open the database for reading")?;
        Ok(Self {
            writer,
            readers,
            signals: Arc::default(),
        })
    }

    /// Opens the database file of this version to be looked at: nothing is written, and what would write fails.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_to_read(file: &Path) -> anyhow::Result<Self> {
        let readers = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(identity::reading(file).pragma("query_only", "on"))
            .await
            .context("cannot open the database for reading")?;
        Ok(Self {
            writer: readers.clone(),
            readers,
            signals: Arc::default(),
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

    /// Whether the database takes writes, for the readiness check.
    pub async fn check_writable(&self) -> Result<()> {
        self.write(|connection| {
            Box::pin(async move {
                sqlx::query("update model_names set last_version = last_version where name = ''")
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Closes both pools after what is being written is written.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Runs one act in a transaction that takes the write lock at its beginning, commits it, and only then returns.
    async fn write<T, F>(&self, act: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Act<'c, T> + Send + 'static,
    {
        let writer = self.writer.clone();
        let task = tokio::spawn(async move {
            let mut transaction = writer.begin_with("begin immediate").await?;
            let outcome = act(&mut transaction).await?;
            transaction.commit().await?;
            Ok(outcome)
        });
        task.await.map_err(Error::internal)?
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
                "the database was made by a newer version of finetuned (migration {newest}; this one knows those up to {}): start \
                that version, or put back a database of this one",
                Store::newest_migration()
            )
        }
        Err(error) => Err(error).context("cannot bring the database up to date"),
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
        match code.as_deref() {
            Some("13") => {
                let detail = "the server's disk is full; delete datasets or models that are no longer needed and try again";
                Error::new(crate::error::Kind::DiskFull, "insufficient-storage", detail).with_context(error)
            }
            Some("5" | "6" | "261" | "517") => {
                let detail = "the database is busy; try again in a moment";
                Error::new(crate::error::Kind::Unavailable, "storage-busy", detail)
                    .retry_after(Duration::from_secs(1))
                    .with_context(error)
            }
            _ => Error::internal(error),
        }
    }
}
