//! What keys take up, against their quotas.
//!
//! What is counted is what rows say at the moment: there is no second account that could disagree with them. Each act that adds something
//! looks in its own transaction, so two of them at once never go over together.

use std::time::Duration;

use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::keys::read_quotas;
use crate::{
    domain::access::{Holder, Quotas},
    error::{Error, Kind, Result},
    store::Store,
};

/// When it is worth to try again: somebody has to delete something first.
const AFTER_DELETING: Duration = Duration::from_secs(60);
/// The same for a queue that moves on by itself.
const AFTER_A_JOB: Duration = Duration::from_secs(30);

/// How many more bytes an owner may have. Without an owner, or without a quota, everything has room.
#[derive(Clone, Debug, Default)]
pub struct Room(Option<Account>);

#[derive(Clone, Debug)]
struct Account {
    owner: String,
    used: u64,
    most: u64,
}

impl Room {
    /// Whether there is room for so many more bytes; there always is for none.
    ///
    /// # Errors
    /// `quota-bytes`, with what is used and what is allowed.
    pub fn check(&self, more: u64) -> Result<()> {
        match &self.0 {
            Some(account) if more > 0 && account.used.saturating_add(more) > account.most => {
                Err(account.exceeded(more))
            }
            _ => Ok(()),
        }
    }
}

impl Account {
    fn exceeded(&self, more: u64) -> Error {
        let Self { owner, used, most } = self;
        let detail = format!(
            "the key `{owner}` owns {used} bytes and may own {most}, so there is no room for {more} more: delete some of its datasets and models \
             (their lists have `?owner={owner}`) or unfinished uploads, or ask for a larger quota"
        );
        Error::new(Kind::TooMany, "quota-bytes", detail).retry_after(AFTER_DELETING)
    }
}

impl Store {
    /// How many more bytes this owner may have, to be asked before something is received.
    pub async fn room_of(&self, owner: Option<&Holder>) -> Result<Room> {
        let Some(owner) = owner else {
            return Ok(Room::default());
        };
        let mut connection = self.readers.acquire().await?;
        room(&mut connection, owner.name.as_str()).await
    }
}

/// For the transaction that has just given an owner so many more bytes.
///
/// # Errors
/// `quota-bytes`; the transaction is then to be given up.
pub(in crate::store) async fn check_bytes(
    connection: &mut SqliteConnection,
    owner: Option<&Holder>,
    more: u64,
) -> Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let mut room = room(connection, owner.name.as_str()).await?;
    if let Some(account) = &mut room.0 {
        account.used = account.used.saturating_sub(more);
    }
    room.check(more)
}

/// For the transaction that is to give an owner another job in the queue.
///
/// # Errors
/// `quota-queued-jobs`; `quota-bytes` if the job makes a model and its owner has no room for one of whatever size.
pub(in crate::store) async fn check_job(
    connection: &mut SqliteConnection,
    owner: Option<&Holder>,
    makes_model: bool,
) -> Result<()> {
    let Some(owner) = owner.map(|owner| owner.name.as_str()) else {
        return Ok(());
    };
    if let Some(most) = quotas(connection, owner).await?.max_queued_jobs {
        let queued: i64 =
            sqlx::query_scalar("select count(*) from jobs where owner_name = $1 and status = 'queued'")
                .bind(owner)
                .fetch_one(&mut *connection)
                .await?;
        if queued >= i64::from(most) {
            let detail = format!(
                "the key `{owner}` has {queued} jobs in the queue and may have {most}: wait until one of them runs, cancel one \
                 (GET /v1/jobs?owner={owner}&status=queued lists them), or ask for a larger quota"
            );
            return Err(Error::new(Kind::TooMany, "quota-queued-jobs", detail).retry_after(AFTER_A_JOB));
        }
    }
    match makes_model {
        true => room(connection, owner).await?.check(1),
        false => Ok(()),
    }
}

async fn room(connection: &mut SqliteConnection, owner: &str) -> Result<Room> {
    let Some(most) = quotas(connection, owner).await?.max_bytes else {
        return Ok(Room::default());
    };
    // A complete upload is counted as its dataset; what adapters share, once.
    let used: i64 = sqlx::query_scalar(
        "select
            (select coalesce(sum(bytes + added_bytes), 0) from datasets where owner_name = $1)
            + (select coalesce(sum(bytes), 0) from models where owner_name = $1)
            + (select coalesce(sum(base_bytes), 0) from (select distinct base_blob, base_bytes from models where owner_name = $1) as bases)
            + (select coalesce(sum(bytes), 0) from uploads where owner_name = $1 and status in ('receiving', 'finishing'))",
    )
    .bind(owner)
    .fetch_one(connection)
    .await?;
    Ok(Room(Some(Account {
        owner: owner.to_owned(),
        used: used.max(0) as u64,
        most,
    })))
}

/// Those of the key that is good under this name, or of the last that was.
async fn quotas(connection: &mut SqliteConnection, owner: &str) -> Result<Quotas> {
    let row: Option<SqliteRow> = sqlx::query(
        "select max_bytes, max_queued_jobs, max_running_jobs, max_requests_per_second
        from keys
        where name = $1
        order by (revoked_at is null) desc, id desc
        limit 1",
    )
    .bind(owner)
    .fetch_optional(connection)
    .await?;
    Ok(row.as_ref().map(read_quotas).transpose()?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
