//! A copy of the database for a backup, made while others write to it.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{
    domain::time::Timestamp,
    error::Result,
    store::{Store, row::count},
};

/// How many rows there are of what people know by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    pub datasets: u64,
    pub models: u64,
    pub jobs: u64,
    pub events: u64,
    pub keys: u64,
}

impl Store {
    /// Writes everything that is committed at this moment into another file, which is missing or empty. Others write meanwhile, and what they
    /// write is not in it. The file is not synced.
    ///
    /// # Errors
    /// Its disk is full, or this database is damaged.
    pub async fn copy_to(&self, file: &Path) -> anyhow::Result<()> {
        let name = file
            .to_str()
            .with_context(|| format!("the path {} is not UTF-8", file.display()))?;
        // The writer: readers refuse to write, also into another file.
        let mut connection = self.writer.acquire().await?;
        sqlx::query("vacuum into $1")
            .bind(name)
            .execute(&mut *connection)
            .await
            .context("cannot copy the database")?;
        Ok(())
    }

    /// Takes from a copy what a backup leaves out: caches, which are made again when they are needed, and uploads that are not complete, whose
    /// bytes still change.
    pub async fn leave_out_caches(&self) -> Result<()> {
        self.write(|connection| {
            Box::pin(async move {
                for sql in [
                    "delete from activations",
                    "delete from packs",
                    "update segments set pack_gone = 1",
                    "delete from uploads where status = 'receiving'",
                    // Nothing of it is in the backup.
                    "delete from released_blobs",
                ] {
                    sqlx::query(sql).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub async fn census(&self) -> Result<Census> {
        let row = sqlx::query(
            "select
                (select count(*) from datasets) as datasets,
                (select count(*) from models) as models,
                (select count(*) from jobs) as jobs,
                (select count(*) from events) as events,
                (select count(*) from keys) as keys",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(Census {
            datasets: count(&row, "datasets")?,
            models: count(&row, "models")?,
            jobs: count(&row, "jobs")?,
            events: count(&row, "events")?,
            keys: count(&row, "keys")?,
        })
    }

    /// The time of the newest job, dataset or model: a clock that is behind it was set back.
    pub async fn newest_time(&self) -> Result<Option<Timestamp>> {
        let newest: Option<i64> = sqlx::query_scalar(
            "select max(created_at)
            from (
                select created_at from jobs
                union all select created_at from datasets
                union all select created_at from models
            ) as made",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(newest.map(Timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{files::digest, fixtures::Stand};

    #[tokio::test]
    async fn a_copy_has_what_was_committed_and_names_no_cache() {
        let stand = Stand::new().await;
        let model = stand.model().await;
        let copy = stand.beside("copy.db");
        stand.store.copy_to(&copy).await.unwrap();
        stand.dataset("later").await;
        let copied = Store::open(&copy).await.unwrap();
        assert_eq!(
            copied.census().await.unwrap(),
            Census {
                datasets: 1,
                models: 1,
                jobs: 1,
                events: stand.store.census().await.unwrap().events,
                keys: 0
            }
        );
        let pack = digest::of_bytes(b"pack");
        assert!(copied.referenced_blobs().await.unwrap().contains(&pack));
        copied.leave_out_caches().await.unwrap();
        let named = copied.referenced_blobs().await.unwrap();
        assert!(
            !named.contains(&pack) && named.contains(&model.sha256),
            "{named:?}"
        );
        assert_eq!(copied.newest_time().await.unwrap(), Some(model.created_at));
        copied.close().await;
    }
}
