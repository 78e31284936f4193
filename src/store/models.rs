//! Rows of models: made together with the end of a job, see `queue.rs`, or by an import.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store,
    access::quotas,
    aliases, references,
    row::{
        check_seen, count, has_owner, json, optional_json, optional_parsed, owner, owner_columns, parsed,
        to_json, word,
    },
};
use crate::{
    domain::{
        access::Holder,
        id::{JobId, ModelId},
        models::{
            model::{Metadata, Model, ModelCard},
            model_import::ImportedFile,
        },
        name::Name,
        page::{Order, Page, PageRequest},
        spec::Architecture,
        tag::Tag,
        time::Timestamp,
    },
    error::{Error, Kind, Result},
};

/// How many models are looked at for bases that a job could share.
const LATEST_BESIDE_A_BASE: i64 = 100;

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

/// Where a new model comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    Job(JobId),
    /// With whom it belongs to.
    Import(ImportedFile, Option<Holder>),
}

/// What importing a model came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportedModel {
    Created(ModelId),
    /// One of this name with the same files is there.
    Existing(ModelId),
}

/// Digests of a model's files.
#[derive(Clone, Debug)]
pub struct ModelBlobs {
    pub weights: String,
    pub card: String,
    /// Of the weights that it is an adapter of.
    pub base: Option<String>,
    pub evaluation: Option<String>,
}

/// A change of a model: what is none stays as it is.
#[derive(Clone, Debug, Default)]
pub struct ModelEdit {
    pub name: Option<Name>,
    pub metadata: Option<Metadata>,
}

const COLUMNS: &str = "models.*,
    (select json_group_array(name order by name) from aliases where model_id = models.id) as aliases";

impl Store {
    /// The one place where a reference becomes a model: an id, an alias, a name (its newest version), or `name@n`. It is one query, so
    /// that a caller gets what an alias named before a move or after it, and nothing in between.
    pub async fn model(&self, reference: &str) -> Result<Model> {
        let (name, version) = match reference.rsplit_once('@') {
            Some((name, digits)) => (name, digits.parse::<u32>().ok()),
            None => (reference, None),
        };
        let sql = format!(
            "select {COLUMNS} from models
            where id = coalesce(
                (select id from models where id = $1),
                (select model_id from aliases where name = $1),
                (select id from models where name = $2 and ($3 is null or version = $3) order by version desc limit 1)
            )"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
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

    /// Models; `owner` is the id or the name of a key, or `none`.
    pub async fn models(
        &self,
        name: Option<&str>,
        owner: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Model>> {
        let (comparison, direction) = match page.order {
            Order::Desc => ("<", "desc"),
            Order::Asc => (">", "asc"),
        };
        let has_owner = has_owner!("$3");
        let sql = format!(
            "select {COLUMNS} from models
            where ($1 is null or id {comparison} $1) and ($2 is null or name = $2) and {has_owner}
            order by id {direction}
            limit $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&page.after)
            .bind(name)
            .bind(owner)
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let models = rows.iter().map(read_model).collect::<Result<Vec<_>>>()?;
        Ok(Page::from_rows(models, page.limit))
    }

    /// Cards of the latest models of this architecture that share their weights with others, the latest first.
    pub async fn cards_beside_a_base(&self, architecture: Architecture) -> Result<Vec<ModelCard>> {
        let rows = sqlx::query(
            "select card from models where base_blob is not null and card ->> '$.architecture' = $1
            order by id desc limit $2",
        )
        .bind(architecture.as_str())
        .bind(LATEST_BESIDE_A_BASE)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| json(row, "card")).collect()
    }

    pub async fn model_blobs(&self, id: ModelId) -> Result<ModelBlobs> {
        let row =
            sqlx::query("select sha256, card_blob, base_blob, evaluation_blob from models where id = $1")
                .bind(id.to_string())
                .fetch_optional(&self.readers)
                .await?;
        let row = row.ok_or_else(|| Error::not_found("model", &id.to_string()))?;
        Ok(ModelBlobs {
            weights: row.try_get("sha256")?,
            card: row.try_get("card_blob")?,
            base: row.try_get("base_blob")?,
            evaluation: row.try_get("evaluation_blob")?,
        })
    }

    /// Adds a model that somebody brought, as the next version of its name, unless the newest of that name is the same.
    ///
    /// # Errors
    /// `name-taken` where the name is an alias; `quota-bytes` when its owner has no room for it.
    pub async fn import_model(
        &self,
        new: NewModel,
        from: ImportedFile,
        owner: Option<Holder>,
    ) -> Result<ImportedModel> {
        self.write(move |connection| {
            Box::pin(async move {
                let same = sqlx::query(
                    "select id from models
                    where name = $1 and sha256 = $2 and card_blob = $3
                    order by version desc
                    limit 1",
                )
                .bind(new.name.as_str())
                .bind(&new.sha256)
                .bind(&new.card_blob)
                .fetch_optional(&mut *connection)
                .await?;
                if let Some(row) = same {
                    return Ok(ImportedModel::Existing(parsed(&row, "id")?));
                }
                aliases::refuse_alias(&mut *connection, &new.name).await?;
                let bytes = new.bytes;
                let origin = Origin::Import(from, owner.clone());
                let id = insert_model(&mut *connection, origin, new, Timestamp::now()).await?;
                quotas::check_bytes(connection, owner.as_ref(), bytes).await?;
                Ok(ImportedModel::Created(id))
            })
        })
        .await
    }

    /// Changes a model's name, which makes it the next version of that name, and its metadata; with `seen` only if it is still so.
    ///
    /// # Errors
    /// `changed`; `name-taken` where the name is an alias; `not-found` where the model has gone in the meantime.
    pub async fn edit_model(&self, id: ModelId, edit: ModelEdit, seen: Option<Tag>) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                check_unchanged(&mut *connection, id, seen).await?;
                let row = sqlx::query("select name from models where id = $1")
                    .bind(id.to_string())
                    .fetch_optional(&mut *connection)
                    .await?;
                let row = row.ok_or_else(|| Error::not_found("model", &id.to_string()))?;
                let old: Name = word(&row, "name")?;
                if let Some(name) = edit.name.filter(|name| *name != old) {
                    aliases::refuse_alias(&mut *connection, &name).await?;
                    let version = next_version(&mut *connection, &name).await?;
                    sqlx::query("update models set name = $2, version = $3 where id = $1")
                        .bind(id.to_string())
                        .bind(name.as_str())
                        .bind(version)
                        .execute(&mut *connection)
                        .await?;
                }
                if let Some(metadata) = edit.metadata {
                    sqlx::query("update models set metadata = $2 where id = $1")
                        .bind(id.to_string())
                        .bind(to_json(&metadata)?)
                        .execute(&mut *connection)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Deletes a model's row, and it goes out of the histories of aliases. Its blobs go with the next sweep.
    ///
    /// # Errors
    /// `changed` if it is no longer as it was `seen`; `model-in-use` while an alias names it.
    pub async fn delete_model(&self, id: ModelId, seen: Option<Tag>) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                check_unchanged(&mut *connection, id, seen).await?;
                let names = aliases::names_of(&mut *connection, id).await?;
                if !names.is_empty() {
                    let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                    let (plural, them) = match names.len() {
                        1 => ("the alias", "it"),
                        _ => ("the aliases", "them"),
                    };
                    let detail = format!(
                        "{plural} {} of this model would be left without a model; move {them} to another model or delete {them} first",
                        shown.join(", ")
                    );
                    return Err(Error::new(Kind::Conflict, "model-in-use", detail));
                }
                references::release(connection, references::OF_MODEL, &id.to_string()).await?;
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

async fn check_unchanged(connection: &mut SqliteConnection, id: ModelId, seen: Option<Tag>) -> Result<()> {
    if seen.is_none() {
        return Ok(());
    }
    let sql = format!("select {COLUMNS} from models where id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    let row = row.ok_or_else(|| Error::not_found("model", &id.to_string()))?;
    check_seen(seen.as_ref(), &read_model(&row)?)
}

/// The next version of a name, which nothing had before.
async fn next_version(connection: &mut SqliteConnection, name: &Name) -> Result<i64> {
    let version = sqlx::query_scalar(
        "insert into model_names (name, last_version)
        values ($1, 1)
        on conflict (name) do update set last_version = last_version + 1
        returning last_version",
    )
    .bind(name.as_str())
    .fetch_one(connection)
    .await?;
    Ok(version)
}

/// Adds a model as the next version of its name.
pub(super) async fn insert_model(
    connection: &mut SqliteConnection,
    origin: Origin,
    new: NewModel,
    now: Timestamp,
) -> Result<ModelId> {
    let version = next_version(&mut *connection, &new.name).await?;
    let id = ModelId::new();
    let (source, job, import, owner) = match origin {
        Origin::Job(job) => {
            let owner = owner_of_job(&mut *connection, job).await?;
            ("trained", Some(job.to_string()), None, owner)
        }
        Origin::Import(file, owner) => ("imported", None, Some(to_json(&file)?), owner),
    };
    let (owner_id, owner_name) = owner_columns(owner.as_ref());
    let metadata = new.card.spec.as_ref().map(|spec| spec.metadata.clone());
    sqlx::query(
        "insert into models (id, name, version, source, job_id, imported_from, created_at, sha256, bytes, card_blob, evaluation_blob,
            card, metadata, owner_id, owner_name, base_blob, base_bytes)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(id.to_string())
    .bind(new.name.as_str())
    .bind(version)
    .bind(source)
    .bind(job)
    .bind(import)
    .bind(now.0)
    .bind(new.sha256)
    .bind(new.bytes as i64)
    .bind(new.card_blob)
    .bind(new.evaluation_blob)
    .bind(to_json(&new.card)?)
    .bind(to_json(&metadata.unwrap_or_default())?)
    .bind(owner_id)
    .bind(owner_name)
    .bind(new.card.adapter.as_ref().map(|adapter| adapter.base_sha256.as_str()))
    .bind(new.card.adapter.as_ref().map_or(0, |adapter| adapter.base_bytes as i64))
    .execute(connection)
    .await?;
    Ok(id)
}

async fn owner_of_job(connection: &mut SqliteConnection, job: JobId) -> Result<Option<Holder>> {
    let row = sqlx::query("select owner_id, owner_name from jobs where id = $1")
        .bind(job.to_string())
        .fetch_one(connection)
        .await?;
    owner(&row)
}

fn read_model(row: &SqliteRow) -> Result<Model> {
    Ok(Model {
        id: parsed(row, "id")?,
        object: "model".to_owned(),
        name: word(row, "name")?,
        version: row.try_get("version")?,
        created_at: Timestamp(row.try_get("created_at")?),
        owner: owner(row)?,
        source: word(row, "source")?,
        job: optional_parsed(row, "job_id")?,
        imported_from: optional_json(row, "imported_from")?,
        aliases: json(row, "aliases")?,
        metadata: json(row, "metadata")?,
        sha256: row.try_get("sha256")?,
        bytes: count(row, "bytes")?,
        card: json(row, "card")?,
        card_blob: row.try_get("card_blob")?,
    })
}

#[cfg(test)]
mod tests;
