//! Rows of uploads that come in several requests: `receiving -> finishing -> complete`, or `failed`.
//!
//! `finishing` is written down before the file becomes a blob, so that a crash between the two leaves something to go on from.

use sqlx::{Row, sqlite::SqliteRow};

use super::{
    Store, Topic,
    access::quotas,
    new_dataset, references,
    row::{count, optional_json, optional_parsed, owner, owner_columns, parsed, to_json, word},
};
use crate::{
    domain::{
        access::Holder,
        datasets::{dataset::DatasetError, reading::ReadOptions, upload::Upload},
        id::UploadId,
        name::GivenName,
        page::{Order, Page, PageRequest},
        time::Timestamp,
    },
    error::{Error, Kind, Result},
    store::{CreatedDataset, NewDataset},
};

/// An upload that was announced.
#[derive(Clone, Debug)]
pub struct NewUpload {
    pub name: GivenName,
    pub bytes: u64,
    pub metadata: String,
    pub options: ReadOptions,
    pub announced_sha256: Option<String>,
    pub expires_at: Timestamp,
    pub owner: Option<Holder>,
}

impl Store {
    /// Adds an upload without bytes.
    ///
    /// # Errors
    /// `name-taken` when a chosen name belongs to a dataset, unless that has the digest which is announced; `too-many-uploads` when
    /// `max_unfinished` are there; `quota-bytes` when its owner has no room for all of it.
    pub async fn create_upload(&self, new: NewUpload, max_unfinished: i64) -> Result<Upload> {
        self.write(move |connection| {
            Box::pin(async move {
                let announced = new.announced_sha256.as_deref();
                if let GivenName::Chosen(name) = &new.name {
                    new_dataset::existing(connection, name, announced).await?;
                }
                let unfinished: i64 =
                    sqlx::query_scalar("select count(*) from uploads where status in ('receiving', 'finishing')")
                        .fetch_one(&mut *connection)
                        .await?;
                if unfinished >= max_unfinished {
                    let detail = format!(
                        "the limit of {unfinished} unfinished uploads is reached; finish or delete one of them (list them with GET /v1/uploads)"
                    );
                    return Err(Error::new(Kind::TooMany, "too-many-uploads", detail));
                }
                let (owner_id, owner_name) = owner_columns(new.owner.as_ref());
                let row = sqlx::query(
                    "insert into uploads (id, name, name_is_derived, metadata, status, bytes, received, announced_sha256, created_at, expires_at,
                        options, owner_id, owner_name)
                    values ($1, $2, $3, $4, 'receiving', $5, 0, $6, $7, $8, $9, $10, $11)
                    returning *",
                )
                .bind(UploadId::new().to_string())
                .bind(new.name.name().as_str())
                .bind(new.name.is_derived())
                .bind(&new.metadata)
                .bind(as_integer(new.bytes))
                .bind(announced)
                .bind(Timestamp::now().0)
                .bind(new.expires_at.0)
                .bind(to_json(&new.options)?)
                .bind(owner_id)
                .bind(owner_name)
                .fetch_one(&mut *connection)
                .await?;
                quotas::check_bytes(connection, new.owner.as_ref(), new.bytes).await?;
                read_upload(&row)
            })
        })
        .await
    }

    pub async fn upload(&self, id: UploadId) -> Result<Upload> {
        let row = sqlx::query("select * from uploads where id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        read_upload(&row.ok_or_else(|| not_there(id))?)
    }

    pub async fn uploads(&self, page: &PageRequest) -> Result<Page<Upload>> {
        let sql = match page.order {
            Order::Desc => "select * from uploads where ($1 is null or id < $1) order by id desc limit $2",
            Order::Asc => "select * from uploads where ($1 is null or id > $1) order by id limit $2",
        };
        let rows = sqlx::query(sql)
            .bind(&page.after)
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let uploads: Vec<Upload> = rows.iter().map(read_upload).collect::<Result<_>>()?;
        Ok(Page::from_rows(uploads, page.limit))
    }

    /// So many bytes are on disk, and it expires later than it would have.
    pub async fn advance_upload(&self, id: UploadId, received: u64, expires_at: Timestamp) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "update uploads set received = $2, expires_at = $3 where id = $1 and status = 'receiving'",
                )
                .bind(id.to_string())
                .bind(as_integer(received))
                .bind(expires_at.0)
                .execute(connection)
                .await?;
                one_row(id, done.rows_affected())
            })
        })
        .await
    }

    /// `receiving -> finishing`: all bytes are on disk and have this digest.
    pub async fn begin_finishing_upload(&self, id: UploadId, sha256: String) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "update uploads
                    set status = 'finishing', received = bytes, sha256 = $2
                    where id = $1 and status = 'receiving'",
                )
                .bind(id.to_string())
                .bind(sha256)
                .execute(connection)
                .await?;
                one_row(id, done.rows_affected())
            })
        })
        .await
    }

    /// `finishing -> complete`, together with the dataset; its blob is in its place already.
    ///
    /// # Errors
    /// Those of [`Store::create_dataset`]; then the upload is still `finishing`.
    pub async fn complete_upload(&self, id: UploadId) -> Result<CreatedDataset> {
        let created = self
            .write(move |connection| {
                Box::pin(async move {
                    let row = sqlx::query("select * from uploads where id = $1 and status = 'finishing'")
                        .bind(id.to_string())
                        .fetch_optional(&mut *connection)
                        .await?;
                    let row = row.ok_or_else(|| not_there(id))?;
                    let upload = read_upload(&row)?;
                    let new = NewDataset {
                        options: optional_json(&row, "options")?.unwrap_or_default(),
                        name: upload.given_name(),
                        sha256: upload.sha256.unwrap_or_default(),
                        bytes: upload.bytes,
                        owner: upload.owner,
                    };
                    let created = new_dataset::create(connection, new).await?;
                    sqlx::query(
                        "update uploads
                        set status = 'complete', dataset_id = $2, name = (select name from datasets where id = $2)
                        where id = $1",
                    )
                        .bind(id.to_string())
                        .bind(created.id().to_string())
                        .execute(connection)
                        .await?;
                    Ok(created)
                })
            })
            .await?;
        self.signals.notify(Topic::Uploads);
        Ok(created)
    }

    /// It cannot become a dataset.
    pub async fn fail_upload(&self, id: UploadId, error: DatasetError) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                references::release(connection, references::OF_UPLOAD, &id.to_string()).await?;
                sqlx::query(
                    "update uploads
                    set status = 'failed', error = $2
                    where id = $1 and status in ('receiving', 'finishing')",
                )
                .bind(id.to_string())
                .bind(to_json(&error)?)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Deletes an upload's row; what it has become stays.
    pub async fn delete_upload(&self, id: UploadId) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                references::release(connection, references::OF_UPLOAD, &id.to_string()).await?;
                let done = sqlx::query("delete from uploads where id = $1")
                    .bind(id.to_string())
                    .execute(connection)
                    .await?;
                one_row(id, done.rows_affected())
            })
        })
        .await
    }

    /// Deletes the rows of uploads that have expired. How many those were.
    pub async fn forget_expired_uploads(&self, now: Timestamp) -> Result<u64> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                let done = sqlx::query("delete from uploads where expires_at < $1 and status <> 'finishing'")
                    .bind(now.0)
                    .execute(connection)
                    .await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }

    /// Uploads whose bytes are all there and whose dataset is not: a crash came between.
    pub async fn finishing_uploads(&self) -> Result<Vec<UploadId>> {
        self.upload_ids("select id from uploads where status = 'finishing'")
            .await
    }

    /// Uploads whose files are still needed.
    pub async fn unfinished_uploads(&self) -> Result<Vec<UploadId>> {
        self.upload_ids("select id from uploads where status in ('receiving', 'finishing')")
            .await
    }

    async fn upload_ids(&self, sql: &'static str) -> Result<Vec<UploadId>> {
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        rows.iter().map(|row| parsed(row, "id")).collect()
    }
}

fn read_upload(row: &SqliteRow) -> Result<Upload> {
    Ok(Upload {
        id: parsed(row, "id")?,
        object: "upload".to_owned(),
        name: word(row, "name")?,
        name_is_derived: row.try_get("name_is_derived")?,
        status: word(row, "status")?,
        bytes: count(row, "bytes")?,
        received: count(row, "received")?,
        created_at: Timestamp(row.try_get("created_at")?),
        owner: owner(row)?,
        expires_at: Timestamp(row.try_get("expires_at")?),
        dataset: optional_parsed(row, "dataset_id")?,
        error: optional_json(row, "error")?,
        metadata: row.try_get("metadata")?,
        announced_sha256: row.try_get("announced_sha256")?,
        sha256: row.try_get("sha256")?,
    })
}

fn as_integer(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn one_row(id: UploadId, rows: u64) -> Result<()> {
    if rows == 1 { Ok(()) } else { Err(not_there(id)) }
}

fn not_there(id: UploadId) -> Error {
    Error::not_found("upload", &id.to_string())
}
