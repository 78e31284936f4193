//! Rows of activations that jobs left for later ones: a cache on disk, within a budget, the least recently used gone first.

use sqlx::{Row, SqliteConnection};

use super::{Store, recency, references};
use crate::{
    domain::{id::DatasetId, jobs::job::DatasetVersion},
    error::Result,
};

/// Most files of one dataset that a job is told of.
const MOST: i64 = 1000;

/// Activations whose file is a blob already.
#[derive(Clone, Debug)]
pub struct NewActivations {
    pub key: String,
    pub dataset: DatasetVersion,
    pub blob: String,
    pub bytes: u64,
}

impl Store {
    /// Key and blob of what earlier jobs over any version of this dataset left, most recently used first: versions share images.
    pub async fn activations(&self, dataset: DatasetId) -> Result<Vec<(String, String)>> {
        let rows = sqlx::query(
            "select key, blob
            from activations
            where dataset_id = $1
            order by used_at desc
            limit $2",
        )
        .bind(dataset.to_string())
        .bind(MOST)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("key")?, row.try_get("blob")?)))
            .collect()
    }

    /// Remembers activations, and forgets the least recently used as long as all together are over `budget` bytes. The blobs of those
    /// go with the next sweep. True where some were forgotten.
    pub async fn keep_activations(&self, new: NewActivations, budget: u64) -> Result<bool> {
        if new.bytes > budget {
            return Ok(true);
        }
        self.write(move |connection| {
            Box::pin(async move {
                let now = recency::now(connection).await?;
                let replaced: Option<String> =
                    sqlx::query_scalar("select blob from activations where key = $1 and blob <> $2")
                        .bind(&new.key)
                        .bind(&new.blob)
                        .fetch_optional(&mut *connection)
                        .await?;
                if let Some(blob) = replaced {
                    references::release_cache(connection, &blob).await?;
                }
                sqlx::query(
                    "insert into activations (key, dataset_id, dataset_version, blob, bytes, used_at)
                    select $1, $2, $3, $4, $5, $6
                    where exists (select 1 from datasets where id = $2)
                    on conflict (key) do update set blob = excluded.blob, bytes = excluded.bytes, used_at = excluded.used_at",
                )
                .bind(new.key)
                .bind(new.dataset.id.to_string())
                .bind(new.dataset.version)
                .bind(new.blob)
                .bind(i64::try_from(new.bytes).unwrap_or(i64::MAX))
                .bind(now)
                .execute(&mut *connection)
                .await?;
                forget_over(connection, budget).await
            })
        })
        .await
    }

    /// These were used again.
    pub async fn touch_activations(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let now = recency::now(connection).await?;
                sqlx::query("update activations set used_at = $2 where key = $1")
                    .bind(key)
                    .bind(now)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

async fn forget_over(connection: &mut SqliteConnection, budget: u64) -> Result<bool> {
    let forgotten: Vec<String> = sqlx::query_scalar(
        "delete from activations
        where key in (
            select key
            from (select key, sum(bytes) over (order by used_at desc, key) as with_newer from activations) as sums
            where with_newer > $1
        )
        returning blob",
    )
    .bind(i64::try_from(budget).unwrap_or(i64::MAX))
    .fetch_all(&mut *connection)
    .await?;
    for blob in &forgotten {
        references::release_cache(connection, blob).await?;
    }
    Ok(!forgotten.is_empty())
}

/// Forgets what jobs over a dataset left, in the transaction that deletes it.
pub(super) async fn forget_of_dataset(connection: &mut SqliteConnection, dataset: &str) -> Result<()> {
    sqlx::query("delete from activations where dataset_id = $1")
        .bind(dataset)
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Stand;

    #[tokio::test]
    async fn the_least_recently_used_are_forgotten_when_there_is_too_little_room() {
        let stand = Stand::new().await;
        let dataset = stand.dataset("pictures").await;
        let store = &stand.store;
        let version = DatasetVersion {
            id: dataset.id,
            version: dataset.version,
            content_sha256: None,
        };
        let keep = async |key: &str, bytes| {
            let new = NewActivations {
                key: key.to_owned(),
                dataset: version.clone(),
                blob: key.repeat(64),
                bytes,
            };
            store.keep_activations(new, 100).await.unwrap()
        };
        let keys = async || -> Vec<String> {
            let known = store.activations(version.id).await.unwrap();
            known.into_iter().map(|(key, _)| key).collect()
        };
        assert!(!keep("a", 40).await);
        assert!(!keep("b", 40).await);
        store.touch_activations("a").await.unwrap();
        assert!(keep("c", 40).await);
        assert_eq!(keys().await, ["c", "a"]);
        assert!(keep("d", 101).await, "what alone is too much is not kept");
        assert_eq!(keys().await, ["c", "a"], "and costs no other its place");

        keep("e", 10).await;
        assert!(store.referenced_blobs().await.unwrap().contains(&"e".repeat(64)));
        store.delete_dataset(dataset.id, None).await.unwrap();
        assert_eq!(keys().await, [""; 0]);
        assert!(!keep("f", 10).await);
        assert_eq!(
            keys().await,
            [""; 0],
            "nothing is kept for a dataset that is gone"
        );
    }
}
