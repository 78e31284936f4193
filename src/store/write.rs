//! Writing: one act, one transaction, one connection, and what becomes of that connection when the disk fails.
//!
//! SQLite rolls back by itself on a full disk, an I/O error or a lack of memory, and sqlx does not learn of it: it goes on counting a
//! transaction that is gone, and every later `begin` on that connection fails. So a connection on which anything but the act's own
//! refusal went wrong is closed, and the next act opens another. A healthy one is never closed.

use std::{
    fs,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::oneshot;

use super::Store;
use crate::error::{Error, Kind, Result};

/// A future that borrows the writing connection.
pub(super) type Act<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

/// An act whose outcome is kept by itself.
type AnyAct = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> Act<'c, ()> + Send>;

/// How many acts wrote, and how long they took with their wait for the connection.
#[derive(Debug, Default)]
pub(super) struct WriteTimes {
    acts: AtomicU64,
    microseconds: AtomicU64,
}

impl WriteTimes {
    fn add(&self, took: Duration) {
        self.acts.fetch_add(1, Ordering::Relaxed);
        self.microseconds
            .fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }
}

/// What has been written by some moment: what was read before is as it was while this is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Acts of this program.
    acts: u64,
    /// Size and last change of the write-ahead log, which those of other programs are in, such as `finetuned gc` beside the server.
    log: Option<(u64, SystemTime)>,
}

impl Store {
    /// To be asked before reading what is to be remembered.
    pub(super) fn written(&self) -> Written {
        let acts = self.times.acts.load(Ordering::Relaxed);
        let log = self.log.as_ref().and_then(|log| {
            let about = fs::metadata(&**log).ok()?;
            Some((about.len(), about.modified().ok()?))
        });
        Written { acts, log }
    }

    /// How many acts have written since the database was opened, done or not, and how long they took together.
    pub fn write_times(&self) -> (u64, Duration) {
        let microseconds = self.times.microseconds.load(Ordering::Relaxed);
        (
            self.times.acts.load(Ordering::Relaxed),
            Duration::from_micros(microseconds),
        )
    }

    /// Runs one act in a transaction that takes the write lock at its beginning, commits it, and only then returns. It runs in a task of
    /// its own: a client that goes away in the middle cannot leave half a transaction behind.
    pub(super) async fn write<T, F>(&self, act: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Act<'c, T> + Send + 'static,
    {
        let (keep, outcome) = oneshot::channel();
        // What differs between acts is behind one type, so that the transaction and its task are compiled once.
        let act: AnyAct = Box::new(move |connection: &mut SqliteConnection| {
            let act = act(connection);
            Box::pin(async move {
                let _ = keep.send(act.await?);
                Ok(())
            })
        });
        let begun = Instant::now();
        let (writer, times) = (self.writer.clone(), self.times.clone());
        // Counted in the task as well: what is remembered until the next write must not outlive one whose client has left.
        let task = tokio::spawn(async move {
            let done = transact(writer, act).await;
            times.add(begun.elapsed());
            done
        });
        task.await.map_err(Error::internal)??;
        outcome.await.map_err(Error::internal)
    }

    /// The same for what has to work on a full disk too: cancelling, deleting, writing down how something ended. It may use the space
    /// that the [`Ballast`](super::Ballast) holds back.
    pub(super) async fn write_even_if_full<T, F>(&self, act: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Act<'c, T> + Send + 'static,
    {
        let Some(ballast) = &self.ballast else {
            return self.write(act).await;
        };
        ballast.drop_if_full();
        let outcome = self.write(act).await;
        if outcome
            .as_ref()
            .is_err_and(|error| error.kind() == Kind::DiskFull)
        {
            // A quota, say, which does not show as a full disk. The next try has room.
            ballast.drop_now();
        }
        outcome
    }
}

async fn transact(writer: SqlitePool, act: AnyAct) -> Result<()> {
    let mut connection = writer.acquire().await?;
    let outcome = in_transaction(&mut connection, act).await;
    if outcome.as_ref().is_err_and(is_failure) {
        // Whether closing succeeds does not matter: the connection is not used again in any case.
        let _ = connection.close().await;
    }
    outcome
}

async fn in_transaction(connection: &mut SqliteConnection, act: AnyAct) -> Result<()> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    act(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Whether the database failed, as opposed to an act that refused what it was asked for.
fn is_failure(error: &Error) -> bool {
    matches!(error.kind(), Kind::DiskFull | Kind::Unavailable | Kind::Internal)
}

#[cfg(test)]
mod tests;
