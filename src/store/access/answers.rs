//! What requests under an `Idempotency-Key` were answered, for a day. Jobs are not among them: see `jobs/job.rs`.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    domain::{access::Holder, time::Timestamp},
    error::{Error, Kind, Result},
    store::{
        Store,
        row::{count, json, to_json},
    },
};

/// How long an `Idempotency-Key` is remembered.
pub(in crate::store) const KEY_LIFE_MILLISECONDS: i64 = 24 * 3600 * 1000;

/// An `Idempotency-Key`: it is its owner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Id of the caller's key; empty where none is needed.
    owner: String,
    key: String,
}

impl IdempotencyKey {
    pub fn new(owner: Option<&Holder>, key: &str) -> Self {
        Self {
            owner: owner.map(|owner| owner.id.to_string()).unwrap_or_default(),
            key: key.to_owned(),
        }
    }

    pub(in crate::store) fn owner(&self) -> &str {
        &self.owner
    }

    pub(in crate::store) fn key(&self) -> &str {
        &self.key
    }
}

/// What was read of a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRead {
    pub bytes: u64,
    pub sha256: String,
    /// Whether that was all of it: some handlers need only the beginning, or nothing.
    pub ended: bool,
}

/// An answer that is kept for repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// What the answer was for.
    pub read: BodyRead,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// None: it is not kept.
    pub body: Option<Vec<u8>>,
}

impl Store {
    /// Begins a request under a key, with the digest of what it asks for; or gives the answer of the first one, whose body the caller still has
    /// to compare.
    ///
    /// # Errors
    /// `idempotency-mismatch` if the key was used for another request, `idempotency-running` while the first one is carried out,
    /// `too-many-idempotency-keys` if its owner has used that many of them in a day.
    pub async fn begin_request(
        &self,
        key: IdempotencyKey,
        request_sha256: String,
        most: u32,
    ) -> Result<Option<KeptAnswer>> {
        let begun = self.write(move |connection| {
            Box::pin(async move {
                let now = Timestamp::now();
                forget_before(&mut *connection, now.0 - KEY_LIFE_MILLISECONDS).await?;
                match find(&mut *connection, &key).await? {
                    Some(row) => earlier(&row, &request_sha256).map(Some),
                    None => {
                        check_number(&mut *connection, &key, most).await?;
                        insert(connection, &key, &request_sha256, now).await?;
                        Ok(None)
                    }
                }
            })
        });
        begun.await
    }

    /// Keeps the answer of a request that was begun.
    pub async fn keep_answer(&self, key: IdempotencyKey, answer: KeptAnswer) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "update kept_answers
                    set body_bytes = $3, body_sha256 = $4, body_ended = $5, status = $6, headers = $7, answer = $8
                    where owner = $1 and idempotency_key = $2",
                )
                .bind(key.owner)
                .bind(key.key)
                .bind(i64::try_from(answer.read.bytes).unwrap_or(i64::MAX))
                .bind(answer.read.sha256)
                .bind(answer.read.ended)
                .bind(answer.status)
                .bind(to_json(&answer.headers)?)
                .bind(answer.body)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Forgets a request that changed nothing: a repeat is a new one.
    pub async fn forget_request(&self, key: IdempotencyKey) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                sqlx::query("delete from kept_answers where owner = $1 and idempotency_key = $2")
                    .bind(key.owner)
                    .bind(key.key)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Forgets the requests of a server that was killed while it carried them out: nobody will answer them. For the start of a server.
    pub async fn forget_unanswered(&self) -> Result<u64> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                let gone = sqlx::query("delete from kept_answers where status is null")
                    .execute(connection)
                    .await?;
                Ok(gone.rows_affected())
            })
        })
        .await
    }

    /// Forgets the answers and the keys of jobs that are older than a day.
    pub async fn forget_old_answers(&self) -> Result<()> {
        let before = Timestamp::now().0 - KEY_LIFE_MILLISECONDS;
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                sqlx::query("delete from idempotency_keys where created_at < $1")
                    .bind(before)
                    .execute(&mut *connection)
                    .await?;
                forget_before(connection, before).await
            })
        })
        .await
    }
}

async fn forget_before(connection: &mut SqliteConnection, before: i64) -> Result<()> {
    // What is still being carried out is not forgotten: a day is long for a request, but an upload may take it.
    sqlx::query("delete from kept_answers where created_at < $1 and status is not null")
        .bind(before)
        .execute(connection)
        .await?;
    Ok(())
}

async fn find(connection: &mut SqliteConnection, key: &IdempotencyKey) -> Result<Option<SqliteRow>> {
    let row = sqlx::query("select * from kept_answers where owner = $1 and idempotency_key = $2")
        .bind(&key.owner)
        .bind(&key.key)
        .fetch_optional(connection)
        .await?;
    Ok(row)
}

/// What became of the request that came first.
fn earlier(row: &SqliteRow, request_sha256: &str) -> Result<KeptAnswer> {
    if row.try_get::<&str, _>("request_sha256")? != request_sha256 {
        return Err(mismatch());
    }
    let Some(status) = row.try_get::<Option<u16>, _>("status")? else {
        let detail = "the first request with this Idempotency-Key is still being carried out; repeat this one in a moment";
        let delay = std::time::Duration::from_secs(1);
        return Err(Error::new(Kind::Conflict, "idempotency-running", detail).retry_after(delay));
    };
    Ok(KeptAnswer {
        read: BodyRead {
            bytes: count(row, "body_bytes")?,
            sha256: row.try_get("body_sha256")?,
            ended: row.try_get("body_ended")?,
        },
        status,
        headers: json(row, "headers")?,
        body: row.try_get("answer")?,
    })
}

/// The refusal of a key that was used for another request.
pub fn mismatch() -> Error {
    let detail = "this Idempotency-Key was used for another request; use a new key for a new request";
    Error::new(Kind::Invalid, "idempotency-mismatch", detail)
}

async fn check_number(connection: &mut SqliteConnection, key: &IdempotencyKey, most: u32) -> Result<()> {
    let kept: i64 = sqlx::query_scalar("select count(*) from kept_answers where owner = $1")
        .bind(&key.owner)
        .fetch_one(connection)
        .await?;
    if kept >= i64::from(most) {
        let detail = format!(
            "{kept} Idempotency-Keys were used in 24 hours, the most that are remembered; send the request without one, or later"
        );
        let delay = std::time::Duration::from_secs(60);
        return Err(Error::new(Kind::TooMany, "too-many-idempotency-keys", detail).retry_after(delay));
    }
    Ok(())
}

async fn insert(
    connection: &mut SqliteConnection,
    key: &IdempotencyKey,
    request_sha256: &str,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "insert into kept_answers (owner, idempotency_key, request_sha256, created_at) values ($1, $2, $3, $4)",
    )
    .bind(&key.owner)
    .bind(&key.key)
    .bind(request_sha256)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{id::KeyId, name::Name},
        fixtures::Stand,
    };

    fn answer() -> KeptAnswer {
        KeptAnswer {
            read: BodyRead {
                bytes: 2,
                sha256: "b".to_owned(),
                ended: true,
            },
            status: 201,
            headers: vec![("location".to_owned(), "/v1/things/1".to_owned())],
            body: Some(b"{}".to_vec()),
        }
    }

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::new(None, text)
    }

    async fn begin(store: &Store, key: &IdempotencyKey, request: &str) -> Result<Option<KeptAnswer>> {
        store.begin_request(key.clone(), request.to_owned(), 3).await
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_the_same_request_of_the_same_owner() {
        let stand = Stand::new().await;
        let store = &stand.store;
        assert_eq!(begin(store, &key("k"), "split").await.unwrap(), None);
        let running = begin(store, &key("k"), "split").await.unwrap_err();
        assert_eq!(
            (running.slug(), running.kind()),
            ("idempotency-running", Kind::Conflict)
        );
        store.keep_answer(key("k"), answer()).await.unwrap();
        assert_eq!(begin(store, &key("k"), "split").await.unwrap(), Some(answer()));
        let other = begin(store, &key("k"), "roll back").await.unwrap_err();
        assert_eq!(other.slug(), "idempotency-mismatch");
        let holder = Holder {
            id: KeyId::new(),
            name: Name::parse("camera").unwrap(),
        };
        let of_somebody = IdempotencyKey::new(Some(&holder), "k");
        assert_eq!(begin(store, &of_somebody, "roll back").await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_was_refused_or_left_undone_may_be_sent_again() {
        let stand = Stand::new().await;
        let store = &stand.store;
        for forgotten in 0..2 {
            assert_eq!(begin(store, &key("k"), "split").await.unwrap(), None);
            match forgotten {
                0 => store.forget_request(key("k")).await.unwrap(),
                _ => assert_eq!(store.forget_unanswered().await.unwrap(), 1),
            }
        }
        assert_eq!(begin(store, &key("k"), "split").await.unwrap(), None);
        store.keep_answer(key("k"), answer()).await.unwrap();
        assert_eq!(store.forget_unanswered().await.unwrap(), 0);
        assert!(begin(store, &key("k"), "split").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_day_and_a_number_bound_what_is_kept() {
        let stand = Stand::new().await;
        let store = &stand.store;
        for text in ["a", "b", "c"] {
            begin(store, &key(text), "split").await.unwrap();
            store.keep_answer(key(text), answer()).await.unwrap();
        }
        let refused = begin(store, &key("d"), "split").await.unwrap_err();
        assert_eq!(refused.slug(), "too-many-idempotency-keys");
        store.forget_old_answers().await.unwrap();
        assert!(begin(store, &key("a"), "split").await.unwrap().is_some());
        sqlx::query("update kept_answers set created_at = created_at - $1 where idempotency_key < 'c'")
            .bind(KEY_LIFE_MILLISECONDS + 1)
            .execute(&store.writer)
            .await
            .unwrap();
        assert_eq!(begin(store, &key("a"), "other").await.unwrap(), None);
        assert!(begin(store, &key("c"), "split").await.unwrap().is_some());
        store.forget_old_answers().await.unwrap();
        assert_eq!(begin(store, &key("b"), "other").await.unwrap(), None);
    }
}
