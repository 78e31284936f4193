//! How a dataset begins: its name is its own, and the same bytes under the same name are the dataset that is there already.

use std::collections::HashMap;

use sqlx::{Row, SqliteConnection};

use super::{
    Store, Topic,
    access::quotas,
    row::{optional_json, owner_columns, parsed, to_json},
};
use crate::{
    domain::{
        access::Holder,
        datasets::reading::ReadOptions,
        id::DatasetId,
        name::{GivenName, Name},
        time::Timestamp,
    },
    error::{Error, Kind, Result},
};

/// A dataset whose archive is a blob already.
#[derive(Clone, Debug)]
pub struct NewDataset {
    pub name: GivenName,
    pub sha256: String,
    pub bytes: u64,
    /// How its archive is to be read.
    pub options: ReadOptions,
    pub owner: Option<Holder>,
}

/// What creating a dataset came to.
#[derive(Debug)]
pub enum CreatedDataset {
    Created(DatasetId),
    /// One of this name with the same bytes is there.
    Existing(DatasetId),
}

impl CreatedDataset {
    pub fn id(&self) -> DatasetId {
        match *self {
            CreatedDataset::Created(id) | CreatedDataset::Existing(id) => id,
        }
    }
}

impl Store {
    /// Adds a dataset in state `processing`. The same name with the same bytes is the one that is there; a failed dataset gives its
    /// name up. Where a derived name belongs to other bytes, the dataset gets it with a number.
    ///
    /// # Errors
    /// `name-taken` when a chosen name belongs to other bytes; `quota-bytes` when its owner has no room for it.
    pub async fn create_dataset(&self, new: NewDataset) -> Result<CreatedDataset> {
        let created = self
            .write(move |connection| Box::pin(create_within_quota(connection, new)))
            .await?;
        self.signals.notify(Topic::Uploads);
        Ok(created)
    }
}

async fn create_within_quota(connection: &mut SqliteConnection, new: NewDataset) -> Result<CreatedDataset> {
    let (owner, bytes) = (new.owner.clone(), new.bytes);
    let created = create(&mut *connection, new).await?;
    if let CreatedDataset::Created(_) = created {
        quotas::check_bytes(connection, owner.as_ref(), bytes).await?;
    }
    Ok(created)
}

/// Adds a dataset, in the transaction of whoever made its archive, and had the room for it.
pub(super) async fn create(connection: &mut SqliteConnection, new: NewDataset) -> Result<CreatedDataset> {
    let name = match new.name {
        GivenName::Chosen(name) => match existing(connection, &name, Some(&new.sha256)).await? {
            Some(id) => return as_read(connection, id, &new.options).await,
            None => name,
        },
        GivenName::Derived(name) => match free(connection, name, &new.sha256).await? {
            Free::Existing(id) => return as_read(connection, id, &new.options).await,
            Free::Name(name) => name,
        },
    };
    let id = DatasetId::new();
    let (owner_id, owner_name) = owner_columns(new.owner.as_ref());
    sqlx::query(
        "insert into datasets (id, name, status, version, created_at, sha256, bytes, attempt, options, owner_id, owner_name)
        values ($1, $2, 'processing', 1, $3, $4, $5, 0, $6, $7, $8)",
    )
    .bind(id.to_string())
    .bind(name.as_str())
    .bind(Timestamp::now().0)
    .bind(new.sha256)
    .bind(new.bytes as i64)
    .bind(to_json(&new.options)?)
    .bind(owner_id)
    .bind(owner_name)
    .execute(connection)
    .await?;
    Ok(CreatedDataset::Created(id))
}

/// The same archive under the same name is what is there already, unless it is to be read differently.
///
/// # Errors
/// `other-options`.
async fn as_read(
    connection: &mut SqliteConnection,
    id: DatasetId,
    options: &ReadOptions,
) -> Result<CreatedDataset> {
    let row =
        sqlx::query("select name, coalesce(pending_options, options) as options from datasets where id = $1")
            .bind(id.to_string())
            .fetch_one(connection)
            .await?;
    let known: ReadOptions = optional_json(&row, "options")?.unwrap_or_default();
    if *options == ReadOptions::default() || *options == known {
        return Ok(CreatedDataset::Existing(id));
    }
    let name: &str = row.try_get("name")?;
    let detail = format!(
        "the dataset `{name}` has the same archive but was read with other options; send them to POST /v1/datasets/{name}/reread"
    );
    Err(Error::new(Kind::Conflict, "other-options", detail))
}

/// What a derived name comes to.
enum Free {
    /// These bytes have it already, or have it with a number.
    Existing(DatasetId),
    Name(Name),
}

/// Length of a dash and the largest number.
const LONGEST_NUMBER: usize = 11;

/// The name itself if no dataset has it, otherwise with the smallest number that is free, from 2.
async fn free(connection: &mut SqliteConnection, name: Name, sha256: &str) -> Result<Free> {
    // Names that begin alike: all that have a number, and some more.
    let beginning = &name.as_str()[..name.as_str().len().min(Name::MAX - LONGEST_NUMBER)];
    let rows = sqlx::query(
        "select id, name, sha256
        from datasets
        where (name = $1 or name like $2) and status <> 'failed'
        order by id",
    )
    .bind(name.as_str())
    .bind(format!("{beginning}%"))
    .fetch_all(connection)
    .await?;
    let mut taken = HashMap::new();
    for row in &rows {
        taken.insert(row.try_get::<String, _>("name")?, row);
    }
    // One more than there are names that could be taken.
    for number in 1..=rows.len() as u32 + 1 {
        let candidate = match number {
            1 => name.clone(),
            _ => name.numbered(number),
        };
        match taken.get(candidate.as_str()) {
            None => return Ok(Free::Name(candidate)),
            Some(row) if row.try_get::<&str, _>("sha256")? == sha256 => {
                return Ok(Free::Existing(parsed(row, "id")?));
            }
            Some(_) => {}
        }
    }
    Err(Error::internal(anyhow::anyhow!("no name like `{name}` is free")))
}

/// The dataset that has this name and these bytes already; a failed one has no name.
///
/// # Errors
/// `name-taken` when the name belongs to other bytes, or where nobody said which bytes are to come.
pub(super) async fn existing(
    connection: &mut SqliteConnection,
    name: &Name,
    sha256: Option<&str>,
) -> Result<Option<DatasetId>> {
    let row = sqlx::query("select id, sha256 from datasets where name = $1 and status <> 'failed'")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    if sha256 == Some(row.try_get::<&str, _>("sha256")?) {
        return Ok(Some(parsed(&row, "id")?));
    }
    let detail = match sha256 {
        Some(_) => {
            format!("a dataset named `{name}` with other contents exists; choose another name or delete it")
        }
        None => format!(
            "a dataset named `{name}` exists; choose another name, or send the SHA-256 if it is the same archive"
        ),
    };
    Err(Error::new(Kind::Conflict, "name-taken", detail))
}
