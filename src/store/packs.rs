//! Pixel packs, those that came with the images and those that jobs left for later ones: a cache on disk, within a budget, the least
//! recently used gone first, but none of a dataset that a job is running over.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{Store, recency, references, row::count};
use crate::{
    domain::{id::DatasetId, models::preprocessing::Interpolation},
    error::Result,
    protocol::PackSize,
};

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
            "select blob, side, brought_up, bicubic
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
                    interpolation: match row.try_get("bicubic")? {
                        true => Interpolation::Bicubic,
                        false => Interpolation::Bilinear,
                    },
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
                let now = recency::now(connection).await?;
                sqlx::query(
                    "insert into packs (dataset_id, blob, side, brought_up, bytes, used_at, bicubic)
                    select $1, $2, $3, $4, $5, $6, $7
                    where exists (select 1 from datasets where id = $1)
                    on conflict (dataset_id, blob) do update set used_at = excluded.used_at",
                )
                .bind(new.dataset.to_string())
                .bind(new.blob)
                .bind(new.size.side)
                .bind(new.size.bring_up)
                .bind(i64::try_from(new.bytes).unwrap_or(i64::MAX))
                .bind(now)
                .bind(new.size.interpolation == Interpolation::Bicubic)
                .execute(&mut *connection)
                .await?;
                forget_over(connection, budget).await
            })
        })
        .await
    }

    /// Forgets as [`Store::keep_pack`] does, after a segment came with its own.
    pub async fn forget_packs_over(&self, budget: u64) -> Result<bool> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move { forget_over(connection, budget).await })
        })
        .await
    }

    /// This one is damaged, whichever datasets share it: who needs it makes another of the images. True where it was known.
    pub async fn forget_pack(&self, blob: &str) -> Result<bool> {
        let blob = blob.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let segments =
                    sqlx::query("update segments set pack_gone = 1 where pack_blob = $1 and pack_gone = 0")
                        .bind(&blob)
                        .execute(&mut *connection)
                        .await?;
                let packs = sqlx::query("delete from packs where blob = $1")
                    .bind(&blob)
                    .execute(&mut *connection)
                    .await?;
                let was_known = segments.rows_affected() + packs.rows_affected() > 0;
                if was_known {
                    references::release_cache(connection, &blob).await?;
                }
                Ok(was_known)
            })
        })
        .await
    }

    /// A job worked over these images: the packs that came with them were of use, those that are still there.
    pub async fn touch_segment_packs(&self, dataset: DatasetId) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                let now = recency::now(connection).await?;
                sqlx::query("update segments set pack_used_at = $2 where dataset_id = $1")
                    .bind(dataset.to_string())
                    .bind(now)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// A job went on with this one.
    pub async fn touch_pack(&self, dataset: DatasetId, blob: &str) -> Result<()> {
        let blob = blob.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let now = recency::now(connection).await?;
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

/// What a running job was told of counts and stays: its next attempt would have to pack it again.
async fn forget_over(connection: &mut SqliteConnection, budget: u64) -> Result<bool> {
    let rows = sqlx::query(
        "select dataset_id, segment, blob, bytes,
            dataset_id in (select dataset_id from jobs where status = 'running') as needed
        from (
            select dataset_id, null as segment, blob, bytes, used_at from packs
            union all select dataset_id, number, pack_blob, pack_bytes, pack_used_at from segments where pack_gone = 0
        ) as all_packs
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
    let dataset: &str = row.try_get("dataset_id")?;
    let segment: Option<u32> = row.try_get("segment")?;
    references::release_cache(connection, row.try_get("blob")?).await?;
    match segment {
        Some(segment) => {
            sqlx::query("update segments set pack_gone = 1 where dataset_id = $1 and number = $2")
                .bind(dataset)
                .bind(segment)
                .execute(connection)
                .await?
        }
        None => {
            sqlx::query("delete from packs where dataset_id = $1 and blob = $2")
                .bind(dataset)
                .bind(row.try_get::<&str, _>("blob")?)
                .execute(connection)
                .await?
        }
    };
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
            interpolation: Interpolation::Bilinear,
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
        assert!(keep(second.id, "e", 50).await);
        assert_eq!(keys(first.id).await, ["a"], "although it is the oldest");
        assert_eq!(keys(second.id).await, ["e"]);

        assert!(store.referenced_blobs().await.unwrap().contains(&"a".repeat(64)));
        store.delete_dataset(second.id, None).await.unwrap();
        keep(second.id, "f", 10).await;
        assert_eq!(
            keys(second.id).await,
            [""; 0],
            "nothing is kept for a dataset that is gone"
        );
    }

    #[tokio::test]
    async fn a_damaged_pack_is_forgotten_whoever_made_it() {
        let stand = Stand::new().await;
        let store = &stand.store;
        let dataset = stand.dataset("pictures").await.id;
        let new = NewPack {
            dataset,
            blob: "a".repeat(64),
            size: PackSize {
                side: 128,
                bring_up: true,
                interpolation: Interpolation::Bilinear,
            },
            bytes: 40,
        };
        store.keep_pack(new, 100).await.unwrap();
        let segment = async || {
            store
                .version_files(dataset, 1)
                .await
                .unwrap()
                .unwrap()
                .segments
                .remove(0)
        };
        let own = segment().await.files.pack;
        assert!(!store.forget_pack(&"b".repeat(64)).await.unwrap());
        for blob in ["a".repeat(64), own.clone()] {
            assert!(store.forget_pack(&blob).await.unwrap());
            assert!(!store.forget_pack(&blob).await.unwrap(), "it is forgotten");
        }
        assert!(store.packs(dataset).await.unwrap().is_empty() && segment().await.pack_gone);
        assert!(!store.referenced_blobs().await.unwrap().contains(&own));
    }

    #[tokio::test]
    async fn the_pack_that_came_with_the_images_goes_too_and_the_images_stay() {
        let stand = Stand::new().await;
        let store = &stand.store;
        let (first, second) = (stand.dataset("pictures").await, stand.dataset("others").await);
        let files = async |dataset: DatasetId| {
            let files = store.version_files(dataset, 1).await.unwrap().unwrap();
            files.segments.into_iter().next().unwrap()
        };
        let bytes = files(first.id).await.files.pack_bytes;
        assert!(bytes > 0);
        assert!(!store.forget_packs_over(2 * bytes).await.unwrap());
        store.touch_segment_packs(first.id).await.unwrap();
        assert!(store.forget_packs_over(2 * bytes - 1).await.unwrap());
        let (kept, gone) = (files(first.id).await, files(second.id).await);
        assert_eq!((kept.pack_gone, gone.pack_gone), (false, true));
        let blobs = store.referenced_blobs().await.unwrap();
        assert!(blobs.contains(&kept.files.pack) && blobs.contains(&gone.files.images));

        stand.submit(&first, json!({})).await;
        let claimed = store.claim_job(vec!["cpu".to_owned()], false).await.unwrap();
        assert!(claimed.is_some());
        assert!(!store.forget_packs_over(0).await.unwrap(), "a job needs it");
    }
}
