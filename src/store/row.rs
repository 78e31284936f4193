//! Columns that hold more than a number or a text: JSON, ids, states.

pub mod list;

use std::str::FromStr;

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};

use crate::{
    domain::{access::Holder, tag::Tag, trace::TraceParent},
    error::{Error, Result},
};

/// Writes a value as a JSON column.
pub fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

/// Reads a JSON column.
pub fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| Error::internal(anyhow::anyhow!("column {column}: {error}")))
}

/// Reads a JSON column that may be null.
pub fn optional_json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(serde_json::from_str)
        .transpose()
        .map_err(|error| Error::internal(anyhow::anyhow!("column {column}: {error}")))
}

/// Reads a column whose type is written as a bare word, such as a state.
pub fn word<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T> {
    let text: &str = row.try_get(column)?;
    serde_json::from_value(serde_json::Value::from(text))
        .map_err(|error| Error::internal(anyhow::anyhow!("column {column}: {error}")))
}

/// Reads a column that parses, such as an id.
pub fn parsed<T>(row: &SqliteRow, column: &str) -> Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: &str = row.try_get(column)?;
    text.parse().map_err(Error::internal)
}

/// Reads a column that parses and may be null.
pub fn optional_parsed<T>(row: &SqliteRow, column: &str) -> Result<Option<T>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: Option<&str> = row.try_get(column)?;
    text.map(str::parse).transpose().map_err(Error::internal)
}

/// Reads an integer column that is never negative.
pub fn count(row: &SqliteRow, column: &str) -> Result<u64> {
    let number: i64 = row.try_get(column)?;
    Ok(number.max(0) as u64)
}

/// Whether a thing is still as a caller has seen it, in the transaction that changes it.
///
/// # Errors
/// `changed`
pub fn check_seen<T: Serialize>(seen: Option<&Tag>, now: &T) -> Result<()> {
    match seen {
        Some(seen) if *seen != Tag::of(now) => Err(Error::changed()),
        _ => Ok(()),
    }
}

/// Reads whose something is, from the columns `owner_id` and `owner_name`.
pub fn owner(row: &SqliteRow) -> Result<Option<Holder>> {
    let id = optional_parsed(row, "owner_id")?;
    id.map(|id| {
        Ok(Holder {
            id,
            name: word(row, "owner_name")?,
        })
    })
    .transpose()
}

/// A thing's owner as its two columns, id and name.
pub fn owner_columns(owner: Option<&Holder>) -> (Option<String>, Option<&str>) {
    (
        owner.map(|owner| owner.id.to_string()),
        owner.map(|owner| owner.name.as_str()),
    )
}

/// Whether a thing has the owner that a list asks for by the parameter `$1`, an id or a name, or has none where that is `none`, which is
/// no name. Without a parameter all have.
macro_rules! has_owner {
    ($parameter:literal) => {
        concat!(
            "(",
            $parameter,
            " is null or owner_id = ",
            $parameter,
            " or owner_name = ",
            $parameter,
            " or (",
            $parameter,
            " = 'none' and owner_id is null))"
        )
    };
}

pub(super) use has_owner;

/// The trace of the request that submitted a job.
pub fn trace(row: &SqliteRow) -> Result<Option<TraceParent>> {
    let text: Option<String> = row.try_get("trace_parent")?;
    Ok(text.and_then(|text| text.parse().ok()))
}
