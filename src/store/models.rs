//! Rows of models. One is made only together with the end of its job, see `queue.rs`.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store,
    row::{count, json, parsed, to_json, word},
};
use crate::{
    domain::{
        model::{Model, ModelCard},
        name::Name,
        page::{Order, Page, PageRequest},
        time::Timestamp,
    },
    error::{Error, Result},
    id::{JobId, ModelId},
};

/// A model whose files are blobs already.
#[derive(Clone, Debug)]
pub struct NewModel {
    pub name: Name,
    pub card: ModelCard,
    /// Of `model.safetensors`.
    pub sha256: String,
    pub bytes: u64,
    /// Digest of `model.json`.
    pub card_blob: String,
    /// Digest of `evaluation.json`, if there is one.
    pub evaluation_blob: Option<String>,
}

/// Digests of a model's files.
#[derive(Clone, Debug)]
pub struct ModelBlobs {
    pub weights: String,
    pub card: String,
    pub evaluation: Option<String>,
}

impl Store {
    /// The model of this id, the newest of this name, or version n of `name@n`.
    pub async fn model(&self, reference: &str) -> Result<Model> {
        let (name, version) = match reference.rsplit_once('@') {
            Some((name, digits)) => (name, digits.parse::<u32>().ok()),
            None => (reference, None),
        };
        let row = sqlx::query(
            "select * from models
            where id = $1 or (name = $2 and ($3 is null or version = $3))
            order by (id = $1) desc, version desc
            limit 1",
        )
        .bind(reference)
        .bind(name)
        .bind(version)
        .fetch_optional(&self.readers)
        .await?;
        let malformed = reference.contains('@') && version.is_none();
        let row = row
            .filter(|_| !malformed)
            .ok_or_else(|| Error::not_found("model", reference))?;
        read_model(&row)
    }

    pub async fn models(&self, name: Option<&str>, page: &PageRequest) -> Result<Page<Model>> {
        let sql = match page.order {
            Order::Desc => {
                "select * from models where ($1 is null or id < $1) and ($2 is null or name = $2) order by id desc limit $3"
            }
            Order::Asc => {
                "select * from models where ($1 is null or id > $1) and ($2 is null or name = $2) order by id limit $3"
            }
        };
        let rows = sqlx::query(sql)
            .bind(&page.after)
            .bind(name)
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let models = rows.iter().map(read_model).collect::<Result<Vec<_>>>()?;
        Ok(Page::from_rows(models, page.limit))
    }

    pub async fn model_blobs(&self, id: ModelId) -> Result<ModelBlobs> {
        let row = sqlx::query("select sha256, card_blob, evaluation_blob from models where id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        let row = row.ok_or_else(|| Error::not_found("model", &id.to_string()))?;
        Ok(ModelBlobs {
            weights: row.try_get("sha256")?,
            card: row.try_get("card_blob")?,
            evaluation: row.try_get("evaluation_blob")?,
        })
    }

    /// Deletes a model's row. Its blobs go with the next sweep.
    pub async fn delete_model(&self, id: ModelId) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query("delete from models where id = $1")
                    .bind(id.to_string())
                    .execute(connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::not_found("model", &id.to_string()));
                }
                Ok(())
            })
        })
        .await
    }
}

/// Adds a model as the next version of its name.
pub(super) async fn insert_model(
    connection: &mut SqliteConnection,
    job: JobId,
    new: NewModel,
    now: Timestamp,
) -> Result<ModelId> {
    let version: i64 = sqlx::query_scalar(
        "insert into model_names (name, last_version)
        values ($1, 1)
        on conflict (name) do update set last_version = last_version + 1
        returning last_version",
    )
    .bind(new.name.as_str())
    .fetch_one(&mut *connection)
    .await?;
    let id = ModelId::new();
    sqlx::query(
        "insert into models (id, name, version, job_id, created_at, sha256, bytes, card_blob, evaluation_blob, card)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(id.to_string())
    .bind(new.name.as_str())
    .bind(version)
    .bind(job.to_string())
    .bind(now.0)
    .bind(new.sha256)
    .bind(new.bytes as i64)
    .bind(new.card_blob)
    .bind(new.evaluation_blob)
    .bind(to_json(&new.card)?)
    .execute(connection)
    .await?;
    Ok(id)
}

fn read_model(row: &SqliteRow) -> Result<Model> {
    Ok(Model {
        id: parsed(row, "id")?,
        object: "model".to_owned(),
        name: word(row, "name")?,
        version: row.try_get("version")?,
        created_at: Timestamp(row.try_get("created_at")?),
        job: parsed(row, "job_id")?,
        sha256: row.try_get("sha256")?,
        bytes: count(row, "bytes")?,
        card: json(row, "card")?,
    })
}
