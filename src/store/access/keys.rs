//! Rows of keys. A revoked key keeps its row, so that whoever still uses it is told why, and a server never opens because its last key went.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    domain::{
        access::{Key, NewKey, Quotas, SecretDigest},
        id::KeyId,
        page::{Order, Page, PageRequest},
        tag::Tag,
        time::Timestamp,
    },
    error::{Error, Kind, Result},
    store::{
        Store,
        row::{check_seen, json, optional_json, parsed, to_json, word},
    },
};

/// Revoked keys that are remembered; those that were revoked first are forgotten first.
const REVOKED: u32 = 1000;

/// A key and what it is known by.
#[derive(Clone, Debug)]
pub struct StoredKey {
    pub key: Key,
    pub digest: SecretDigest,
}

impl Store {
    /// Adds a key that is known by this digest. `most` keys may be good at the same time.
    ///
    /// # Errors
    /// `name-taken`, `too-many-keys`.
    pub async fn create_key(&self, new: NewKey, digest: SecretDigest, most: u32) -> Result<Key> {
        self.write(move |connection| {
            Box::pin(async move {
                check(&mut *connection, &new, most).await?;
                let key = Key {
                    id: KeyId::new(),
                    object: "key".to_owned(),
                    name: new.name,
                    scopes: new.scopes,
                    datasets: new.datasets,
                    models: new.models,
                    quotas: new.quotas,
                    created_at: Timestamp::now(),
                    expires_at: new.expires_at,
                    last_used_at: None,
                    revoked_at: None,
                };
                insert(&mut *connection, &key, digest).await?;
                forget_old(&mut *connection).await?;
                tell(connection).await?;
                Ok(key)
            })
        })
        .await
    }

    /// The key of this id, or the one that is good under this name, or the last that was.
    ///
    /// # Errors
    /// `not-found`
    pub async fn key(&self, reference: &str) -> Result<Key> {
        let mut connection = self.readers.acquire().await?;
        find(&mut connection, reference).await
    }

    pub async fn keys(&self, page: &PageRequest) -> Result<Page<Key>> {
        let (comparison, direction) = match page.order {
            Order::Desc => ("<", "desc"),
            Order::Asc => (">", "asc"),
        };
        let sql = format!(
            "select * from keys
            where ($1 is null or id {comparison} $1)
            order by id {direction}
            limit $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&page.after)
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let keys = rows.iter().map(read_key).collect::<Result<Vec<_>>>()?;
        Ok(Page::from_rows(keys, page.limit))
    }

    /// Revokes a key; one that is revoked stays as it is.
    ///
    /// # Errors
    /// `not-found`; `changed` if it is no longer as it was `seen`.
    pub async fn revoke_key(&self, reference: &str, seen: Option<Tag>) -> Result<Key> {
        let reference = reference.to_owned();
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                let key = find(&mut *connection, &reference).await?;
                check_seen(seen.as_ref(), &key)?;
                sqlx::query("update keys set revoked_at = $2 where id = $1 and revoked_at is null")
                    .bind(key.id.to_string())
                    .bind(Timestamp::now().0)
                    .execute(&mut *connection)
                    .await?;
                tell(&mut *connection).await?;
                find(connection, &key.id.to_string()).await
            })
        })
        .await
    }

    /// All keys, also those that are no longer good, with the number of the change that they are from.
    pub async fn all_keys(&self) -> Result<(i64, Vec<StoredKey>)> {
        // The number first: what changes in between is read again.
        let revision = self.keys_revision().await?;
        let rows = sqlx::query("select * from keys").fetch_all(&self.readers).await?;
        let keys = rows.iter().map(read_stored).collect::<Result<Vec<_>>>()?;
        Ok((revision, keys))
    }

    /// Moves on with every key that is made or revoked, by whichever program.
    pub async fn keys_revision(&self) -> Result<i64> {
        let revision = sqlx::query_scalar("select revision from key_changes")
            .fetch_one(&self.readers)
            .await?;
        Ok(revision)
    }

    /// Notes when keys were last used.
    pub async fn note_key_uses(&self, uses: Vec<(KeyId, Timestamp)>) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                for (id, at) in uses {
                    sqlx::query("update keys set last_used_at = $2 where id = $1")
                        .bind(id.to_string())
                        .bind(at.0)
                        .execute(&mut *connection)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }
}

async fn find(connection: &mut SqliteConnection, reference: &str) -> Result<Key> {
    let row = sqlx::query(
        "select * from keys
        where id = $1 or name = $1
        order by (id = $1) desc, (revoked_at is null) desc, id desc
        limit 1",
    )
    .bind(reference)
    .fetch_optional(connection)
    .await?;
    // A key itself in the place of its name is not repeated.
    let row = row.ok_or_else(|| Error::new(Kind::NotFound, "not-found", "there is no such key"))?;
    read_key(&row)
}

async fn check(connection: &mut SqliteConnection, new: &NewKey, most: u32) -> Result<()> {
    let row = sqlx::query(
        "select
            count(*) as good,
            count(*) filter (where name = $1) as of_this_name
        from keys
        where revoked_at is null",
    )
    .bind(new.name.as_str())
    .fetch_one(connection)
    .await?;
    if row.try_get::<i64, _>("of_this_name")? > 0 {
        let detail = format!(
            "there is a key `{}` already; revoke it first, or choose another name",
            new.name
        );
        return Err(Error::new(Kind::Conflict, "name-taken", detail));
    }
    let good: i64 = row.try_get("good")?;
    if good >= i64::from(most) {
        let detail = format!("the limit of {good} keys is reached; revoke some that are no longer needed");
        return Err(Error::new(Kind::Conflict, "too-many-keys", detail));
    }
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, key: &Key, digest: SecretDigest) -> Result<()> {
    let names = |names: &Option<Vec<_>>| names.as_ref().map(to_json).transpose();
    sqlx::query(
        "insert into keys (id, name, digest, scopes, datasets, models, created_at, expires_at, max_bytes, max_queued_jobs,
            max_running_jobs, max_requests_per_second)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(key.id.to_string())
    .bind(key.name.as_str())
    .bind(digest.to_hexadecimal())
    .bind(to_json(&key.scopes)?)
    .bind(names(&key.datasets)?)
    .bind(names(&key.models)?)
    .bind(key.created_at.0)
    .bind(key.expires_at.map(|end| end.0))
    .bind(key.quotas.max_bytes.map(|bytes| bytes as i64))
    .bind(key.quotas.max_queued_jobs)
    .bind(key.quotas.max_running_jobs)
    .bind(key.quotas.max_requests_per_second)
    .execute(connection)
    .await?;
    Ok(())
}

async fn forget_old(connection: &mut SqliteConnection) -> Result<()> {
    sqlx::query(
        "delete from keys
        where revoked_at is not null and id not in (
            select id from keys where revoked_at is not null order by revoked_at desc, id desc limit $1
        )",
    )
    .bind(REVOKED)
    .execute(connection)
    .await?;
    Ok(())
}

/// To be called in the transaction of every change of keys.
async fn tell(connection: &mut SqliteConnection) -> Result<()> {
    sqlx::query("update key_changes set revision = revision + 1")
        .execute(connection)
        .await?;
    Ok(())
}

fn read_stored(row: &SqliteRow) -> Result<StoredKey> {
    let text: &str = row.try_get("digest")?;
    let digest = SecretDigest::from_hexadecimal(text);
    Ok(StoredKey {
        key: read_key(row)?,
        digest: digest
            .ok_or_else(|| Error::internal(anyhow::anyhow!("column digest of keys: no SHA-256")))?,
    })
}

fn read_key(row: &SqliteRow) -> Result<Key> {
    let time = |column: &str| -> Result<Option<Timestamp>> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp))
    };
    Ok(Key {
        id: parsed(row, "id")?,
        object: "key".to_owned(),
        name: word(row, "name")?,
        scopes: json(row, "scopes")?,
        datasets: optional_json(row, "datasets")?,
        models: optional_json(row, "models")?,
        quotas: read_quotas(row)?,
        created_at: Timestamp(row.try_get("created_at")?),
        expires_at: time("expires_at")?,
        last_used_at: time("last_used_at")?,
        revoked_at: time("revoked_at")?,
    })
}

/// Reads what a key may take up.
pub(super) fn read_quotas(row: &SqliteRow) -> Result<Quotas> {
    let bytes: Option<i64> = row.try_get("max_bytes")?;
    Ok(Quotas {
        max_bytes: bytes.map(|bytes| bytes.max(0) as u64),
        max_queued_jobs: row.try_get("max_queued_jobs")?,
        max_running_jobs: row.try_get("max_running_jobs")?,
        max_requests_per_second: row.try_get("max_requests_per_second")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            access::{KeyState, Scope, Secret},
            name::Name,
        },
        fixtures::Stand,
    };

    fn new(name: &str) -> NewKey {
        NewKey {
            name: Name::parse(name).unwrap(),
            scopes: vec![Scope::Read, Scope::Predict],
            datasets: None,
            models: Some(vec![Name::parse("insects").unwrap()]),
            quotas: Quotas {
                max_bytes: Some(i64::MAX as u64),
                max_running_jobs: Some(2),
                ..Quotas::default()
            },
            expires_at: Some(Timestamp(Timestamp::now().0 + 60_000)),
        }
    }

    #[tokio::test]
    async fn a_key_is_kept_by_its_digest_and_reads_back() {
        let stand = Stand::new().await;
        let store = &stand.store;
        let secret = Secret::draw().unwrap();
        let made = store.create_key(new("camera"), secret.digest(), 9).await.unwrap();
        for reference in ["camera", &made.id.to_string()] {
            assert_eq!(store.key(reference).await.unwrap(), made);
        }
        let (_, all) = store.all_keys().await.unwrap();
        assert!(all.len() == 1 && all[0].key == made && all[0].digest.is(&secret.digest()));
        let page = PageRequest {
            limit: 1,
            after: None,
            order: Order::Desc,
        };
        assert_eq!(store.keys(&page).await.unwrap().data, [made]);
        // Not even a part of it is in the file, or in what was written last.
        store.close().await;
        for entry in std::fs::read_dir(stand.folder.path().join("data")).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap_or_default();
            let part = &secret.reveal().as_bytes()[3..20];
            assert!(
                !bytes.windows(part.len()).any(|window| window == part),
                "{}",
                path.display()
            );
        }
    }

    #[tokio::test]
    async fn a_revoked_key_stays_known_and_its_name_is_free_again() {
        let stand = Stand::new().await;
        let store = &stand.store;
        let digest = || Secret::draw().unwrap().digest();
        let first = store.create_key(new("camera"), digest(), 2).await.unwrap();
        let taken = store.create_key(new("camera"), digest(), 2).await.unwrap_err();
        assert_eq!(taken.slug(), "name-taken");
        let before = store.keys_revision().await.unwrap();
        let revoked = store.revoke_key("camera", None).await.unwrap();
        assert_eq!(revoked.id, first.id);
        assert_eq!(revoked.state(Timestamp::now()), KeyState::Revoked);
        assert!(store.keys_revision().await.unwrap() > before);
        // Again changes nothing.
        assert_eq!(
            store.revoke_key(&first.id.to_string(), None).await.unwrap(),
            revoked
        );
        let second = store.create_key(new("camera"), digest(), 2).await.unwrap();
        assert_eq!(store.key("camera").await.unwrap(), second);
        store.create_key(new("other"), digest(), 2).await.unwrap();
        let full = store.create_key(new("third"), digest(), 2).await.unwrap_err();
        assert_eq!(full.slug(), "too-many-keys");
        let missing = store.revoke_key("ft_0123", None).await.unwrap_err();
        assert!(missing.slug() == "not-found" && !missing.detail().contains("0123"));
    }

    #[tokio::test]
    async fn a_use_is_noted_and_is_no_change_of_the_keys() {
        let stand = Stand::new().await;
        let store = &stand.store;
        let digest = Secret::draw().unwrap().digest();
        let key = store.create_key(new("camera"), digest, 9).await.unwrap();
        let before = store.keys_revision().await.unwrap();
        store.note_key_uses(vec![(key.id, Timestamp(77))]).await.unwrap();
        assert_eq!(
            store.key("camera").await.unwrap().last_used_at,
            Some(Timestamp(77))
        );
        assert_eq!(store.keys_revision().await.unwrap(), before);
    }
}
