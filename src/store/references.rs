//! Which blobs the rows point to, and which they let go: what the sweeper may take is decided by these two lists.

use std::collections::HashSet;

use sqlx::{Row, SqliteConnection};

use super::{
    Store,
    row::list::{self, one_of},
};
use crate::{domain::jobs::ledger::Ledger, error::Result};

impl Store {
    /// Digests of all blobs that a row names.
    pub async fn referenced_blobs(&self) -> Result<HashSet<String>> {
        let digests: Vec<Option<String>> = sqlx::query_scalar(
            "select sha256 from datasets
            union select report_blob from datasets
            union select manifest_blob from dataset_versions
            union select images_blob from segments
            union select pack_blob from segments where pack_gone = 0
            union select sha256 from models
            union select card_blob from models
            union select base_blob from models
            union select blob from activations
            union select blob from packs
            union select sha256 from uploads where status = 'finishing'
            union select evaluation_blob from models
            union select result_blob from jobs
            union select csv_blob from jobs",
        )
        .fetch_all(&self.readers)
        .await?;
        Ok(digests.into_iter().flatten().collect())
    }

    /// Digests that rows name, and those that acts let go.
    pub async fn ledger(&self) -> Result<Ledger> {
        // Read first: what is let go in between is then still named, and kept until the next sweep.
        let released = sqlx::query("select sha256, is_cache from released_blobs")
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(|row| Ok((row.try_get("sha256")?, row.try_get("is_cache")?)))
            .collect::<Result<_>>()?;
        Ok(Ledger {
            named: self.referenced_blobs().await?,
            released,
        })
    }

    /// The sweeper has taken these.
    pub async fn forget_released(&self, digests: Vec<String>) -> Result<()> {
        if digests.is_empty() {
            return Ok(());
        }
        let digests = list::bound(&digests)?;
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(concat!(
                    "delete from released_blobs where sha256 in ",
                    one_of!("$1")
                ))
                .bind(digests)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Forgets what is only kept to save time and names one of these blobs, which are not there. How many rows those were.
    pub async fn forget_caches(&self, missing: Vec<String>) -> Result<u64> {
        let missing = list::bound(&missing)?;
        self.write(move |connection| {
            Box::pin(async move {
                let mut forgotten = 0;
                for sql in [
                    concat!("delete from activations where blob in ", one_of!("$1")),
                    concat!("delete from packs where blob in ", one_of!("$1")),
                    concat!(
                        "update segments set pack_gone = 1
                        where pack_gone = 0 and pack_blob in ",
                        one_of!("$1")
                    ),
                ] {
                    let done = sqlx::query(sql).bind(&missing).execute(&mut *connection).await?;
                    forgotten += done.rows_affected();
                }
                Ok(forgotten)
            })
        })
        .await
    }
}

/// What of a dataset names blobs.
pub(super) const OF_DATASET: &str = "select sha256 from datasets where id = $1
    union select report_blob from datasets where id = $1
    union select manifest_blob from dataset_versions where dataset_id = $1
    union select images_blob from segments where dataset_id = $1
    union select pack_blob from segments where dataset_id = $1 and pack_gone = 0
    union select blob from activations where dataset_id = $1
    union select blob from packs where dataset_id = $1";
pub(super) const OF_JOB: &str = "select result_blob as sha256 from jobs where id = $1
    union select csv_blob from jobs where id = $1";
pub(super) const OF_MODEL: &str = "select sha256 from models where id = $1
    union select card_blob from models where id = $1
    union select base_blob from models where id = $1
    union select evaluation_blob from models where id = $1";
pub(super) const OF_UPLOAD: &str = "select sha256 from uploads where id = $1 and status = 'finishing'";

/// To be called in the transaction that takes an object's rows away, before it does: the blobs that `of` selects for it are let go, in
/// as far as no other row names them.
pub(super) async fn release(connection: &mut SqliteConnection, of: &'static str, id: &str) -> Result<()> {
    let sql = format!(
        "insert into released_blobs (sha256, is_cache)
        select sha256, 0 from ({of}) as gone
        where sha256 is not null
        on conflict (sha256) do update set is_cache = 0"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

/// The same for a blob that is only kept to save time.
pub(super) async fn release_cache(connection: &mut SqliteConnection, sha256: &str) -> Result<()> {
    sqlx::query(
        "insert into released_blobs (sha256, is_cache) values ($1, 1)
        on conflict (sha256) do nothing",
    )
    .bind(sha256)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::models::preprocessing::Interpolation,
        files::digest,
        fixtures::Stand,
        protocol::PackSize,
        store::{NewPack, NewUpload},
    };

    /// Every act that takes the last row away which names a blob has to say so: else the sweeper takes the blob for a stray.
    #[tokio::test]
    async fn whatever_stops_being_named_is_let_go() {
        let stand = Stand::new().await;
        let store = &stand.store;
        let model = stand.model().await;
        let dataset = stand.dataset("flowers").await;
        let pack = NewPack {
            dataset: dataset.id,
            blob: digest::of_bytes(b"packed"),
            size: PackSize {
                side: 64,
                bring_up: false,
                interpolation: Interpolation::Bilinear,
            },
            bytes: 10,
        };
        store.keep_pack(pack, 100).await.unwrap();
        let upload = NewUpload {
            options: Default::default(),
            name: crate::domain::name::Name::parse("coming").unwrap().into(),
            bytes: 3,
            metadata: String::new(),
            announced_sha256: None,
            owner: None,
            expires_at: crate::domain::time::Timestamp::now(),
        };
        let upload = store.create_upload(upload, 10).await.unwrap();
        store
            .begin_finishing_upload(upload.id, digest::of_bytes(b"upload"))
            .await
            .unwrap();
        let named = store.referenced_blobs().await.unwrap();
        assert!(named.contains(&digest::of_bytes(b"packed")) && named.contains(&digest::of_bytes(b"upload")));

        store.forget_packs_over(0).await.unwrap();
        store.delete_upload(upload.id).await.unwrap();
        store.delete_model(model.id, None).await.unwrap();
        for dataset in [&dataset.id.to_string(), "trained-on"] {
            let dataset = store.dataset(dataset).await.unwrap();
            store.delete_dataset(dataset.id, None).await.unwrap();
        }
        let ledger = store.ledger().await.unwrap();
        assert!(ledger.named.is_empty(), "{ledger:?}");
        let released: HashSet<String> = ledger.released.keys().cloned().collect();
        assert_eq!(released, named);
        assert!(ledger.released[&digest::of_bytes(b"packed")]);
        assert!(!ledger.released[&digest::of_bytes(b"weights")]);
        store
            .forget_released(released.into_iter().collect())
            .await
            .unwrap();
        assert!(store.ledger().await.unwrap().released.is_empty());
    }

    #[tokio::test]
    async fn caches_that_are_not_there_are_forgotten_and_nothing_else_is() {
        let stand = Stand::new().await;
        let dataset = stand.dataset("flowers").await;
        let missing = ["pack", "images"].map(|name| digest::of_bytes(name.as_bytes()));
        let forgotten = stand.store.forget_caches(missing.to_vec()).await.unwrap();
        assert_eq!(forgotten, 1);
        let named = stand.store.referenced_blobs().await.unwrap();
        assert_eq!(missing.map(|digest| named.contains(&digest)), [false, true]);
        assert!(named.contains(&dataset.sha256));
    }
}
