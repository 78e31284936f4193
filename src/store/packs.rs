//! Rows of the pixel packs that jobs left for later ones: a cache on disk, within a budget, the least recently used gone first, but
//! none of a dataset that a job is running over.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{Store, row::count};
use crate::{domain::time::Timestamp, error::Result, id::DatasetId, protocol::PackSize};

/// Most packs of one dataset that a job is told of.
const MOST: i64 = 100;

/// A pack whose file is a blob already.
#[derive(Clone, Debug)]
pub struct NewPack {
    pub dataset: DatasetId,
    pub blob: String,
    pub size: PackSize,
    pub bytes: u64,
}

impl Store {
    /// Blob and size of what earlier jobs over this dataset packed, most recently used first.
    pub async fn packs(&self, dataset: DatasetId) -> Result<Vec<(String, PackSize)>> {
        let rows = sqlx::query(
            "select blob, side, brought_up
            from packs
            where dataset_id = $1
            order by used_at desc
            limit $2",
        )
        .bind(dataset.to_string())
        .bind(MOST)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let size = PackSize {
                    side: row.try_get("side")?,
                    bring_up: row.try_get("brought_up")?,
                };
                Ok((row.try_get("blob")?, size))
            })
            .collect()
    }

    /// Remembers a pack, and forgets the least recently used as long as all together are over `budget` bytes. The blobs of those go with
    /// the next sweep. True where some were forgotten, or this one is too large to be kept at all.
    pub async fn keep_pack(&self, new: NewPack, budget: u64) -> Result<bool> {
        if new.bytes > budget {
            return Ok(true);
        }
        self.write(move |connection| {
            Box::pin(async move {
                let now = now(connection).await?;
                sqlx::query(
                    "insert into packs (dataset_id, blob, side, brought_up, bytes, used_at)
                    select $1, $2, $3, $4, $5, $6
                    where exists (select 1 from datasets where id = $1)
                    on conflict (dataset_id, blob) do update set used_at = excluded.used_at",
                )
                .bind(new.dataset.to_string())
                .bind(new.blob)
                .bind(new.size.side)
                .bind(new.size.bring_up)
                .bind(i64::try_from(new.bytes).unwrap_or(i64::MAX))
                .bind(now)
                .execute(&mut *connection)
                .await?;
                forget_over(connection, budget).await
            })
        })
        .await
    }

    /// A job went on with this one.
    pub async fn touch_pack(&self, dataset: DatasetId, blob: &str) -> Result<()> {
        let blob = blob.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let now = now(connection).await?;
                sqlx::query("update packs set used_at = $3 where dataset_id = $1 and blob = $2")
                    .bind(dataset.to_string())
                    .bind(blob)
                    .bind(now)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

/// The time, later than any that is written down: two uses of one millisecond have an order too.
async fn now(connection: &mut SqliteConnection) -> Result<i64> {
    let last: i64 = sqlx::query_scalar("select coalesce(max(used_at), 0) from packs")
        .fetch_one(connection)
        .await?;
    Ok(Timestamp::now().0.max(last + 1))
}

/// What a running job was told of counts and stays: its next attempt would have to pack it again.
async fn forget_over(connection: &mut SqliteConnection, budget: u64) -> Result<bool> {
    let rows = sqlx::query(
        "select dataset_id, blob, bytes, dataset_id in (select dataset_id from jobs where status = 'running') as needed
        from packs
        order by needed desc, used_at desc",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut left = budget;
    let mut forgotten = false;
    for row in &rows {
        let bytes = count(row, "bytes")?;
        if row.try_get("needed")? || bytes <= left {
            left = left.saturating_sub(bytes);
            continue;
        }
        forget(connection, row).await?;
        forgotten = true;
    }
    Ok(forgotten)
}

async fn forget(connection: &mut SqliteConnection, row: &SqliteRow) -> Result<()> {
    sqlx::query("delete from packs where dataset_id = $1 and blob = $2")
        .bind(row.try_get::<&str, _>("dataset_id")?)
        .bind(row.try_get::<&str, _>("blob")?)
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::Stand;

    #[tokio::test]
    async fn the_least_recently_used_are_forgotten_when_there_is_too_little_room_but_none_that_a_job_needs() {
        let stand = Stand::new().await;
        let store = &stand.store;
        let (first, second) = (stand.dataset("pictures").await, stand.dataset("others").await);
        let size = PackSize {
            side: 128,
            bring_up: true,
        };
        let keep = async |dataset: DatasetId, key: &str, bytes| {
            let new = NewPack {
                dataset,
                blob: key.repeat(64),
                size,
                bytes,
            };
            store.keep_pack(new, 100).await.unwrap()
        };
        let keys = async |dataset: DatasetId| -> Vec<String> {
            let known = store.packs(dataset).await.unwrap();
            known.into_iter().map(|(blob, _)| blob[..1].to_owned()).collect()
        };
        assert!(!keep(first.id, "a", 40).await);
        assert!(!keep(first.id, "b", 40).await);
        store.touch_pack(first.id, &"a".repeat(64)).await.unwrap();
        assert!(keep(second.id, "c", 40).await);
        assert_eq!(keys(first.id).await, ["a"]);
        assert!(
            keep(second.id, "d", 101).await,
            "what alone is too much is not kept"
        );
        assert_eq!(keys(second.id).await, ["c"], "and costs no other its place");

        stand.submit(&first, json!({})).await;
        store
            .claim_job(vec!["cpu".to_owned()], false)
            .await
            .unwrap()
            .unwrap();
        assert!(keep(second.id, "e", 60).await);
        assert_eq!(keys(first.id).await, ["a"], "although it is the oldest");
        assert_eq!(keys(second.id).await, ["e"]);

        assert!(store.referenced_blobs().await.unwrap().contains(&"a".repeat(64)));
        store.delete_dataset(second.id).await.unwrap();
        assert!(!keep(second.id, "f", 10).await);
        assert_eq!(
            keys(second.id).await,
            [""; 0],
            "nothing is kept for a dataset that is gone"
        );
    }
}
