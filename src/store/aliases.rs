//! Rows of aliases: which model each names, and which it named before.
//!
//! A move is one transaction over one row, and `models.rs` resolves a reference with one query: a request sees an alias before a move or
//! after it. A name belongs to models or to an alias, never to both: every act that gives a name looks at the other side in its own
//! transaction.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Store,
    row::{
        list::{self, one_of},
        parsed, word,
    },
};
use crate::{
    domain::{
        id::ModelId,
        models::alias::{Alias, FormerModel},
        name::Name,
        page::Page,
        time::Timestamp,
    },
    error::{Error, Kind, Result},
};

/// What a caller presumes of an alias (`If-Match`, `If-None-Match`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presumed {
    Nothing,
    /// That it is not there yet.
    Absent,
    /// That it is there, at one of these revisions; with none listed, at whichever.
    At(Option<Vec<u32>>),
}

/// How many aliases there may be, and how many models each remembers.
#[derive(Clone, Copy, Debug)]
pub struct AliasBounds {
    pub aliases: u32,
    pub history: u32,
}

/// What setting an alias came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasSet {
    Created,
    Moved,
    /// It named this model already.
    Unchanged,
}

const COLUMNS: &str =
    "aliases.name, aliases.model_id, models.name as model_name, models.version as model_version,
    aliases.revision, aliases.created_at, aliases.moved_at";

impl Store {
    /// # Errors
    /// `not-found`
    pub async fn alias(&self, name: &str) -> Result<Alias> {
        let sql = format!(
            "select {COLUMNS} from aliases join models on models.id = aliases.model_id where aliases.name = $1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        let row = row.ok_or_else(|| Error::not_found("alias", name))?;
        let mut alias = vec![read_alias(&row)?];
        self.add_histories(&mut alias).await?;
        alias.pop().ok_or_else(|| Error::not_found("alias", name))
    }

    /// Aliases in the order of their names, those after `after`.
    pub async fn aliases(&self, after: Option<&str>, limit: u32) -> Result<Page<Alias>> {
        let sql = format!(
            "select {COLUMNS} from aliases join models on models.id = aliases.model_id
            where $1 is null or aliases.name > $1
            order by aliases.name
            limit $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(after)
            .bind(limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let mut aliases = rows.iter().map(read_alias).collect::<Result<Vec<_>>>()?;
        self.add_histories(&mut aliases).await?;
        Ok(Page::from_rows(aliases, limit))
    }

    async fn add_histories(&self, aliases: &mut [Alias]) -> Result<()> {
        let names: Vec<&Name> = aliases.iter().map(|alias| &alias.name).collect();
        let rows = sqlx::query(concat!(
            "select alias, model_id, models.name as model_name, models.version as model_version, revision, moved_at
            from alias_history join models on models.id = model_id
            where alias in ",
            one_of!("$1"),
            " order by revision desc",
        ))
        .bind(list::bound(&names)?)
        .fetch_all(&self.readers)
        .await?;
        for row in rows {
            let of: &str = row.try_get("alias")?;
            let former = FormerModel {
                model: parsed(&row, "model_id")?,
                model_name: word(&row, "model_name")?,
                model_version: row.try_get("model_version")?,
                revision: row.try_get("revision")?,
                moved_at: Timestamp(row.try_get("moved_at")?),
            };
            // Between the two queries it may have been moved: what it names now is then no former model yet.
            let alias = aliases
                .iter_mut()
                .find(|alias| alias.name.as_str() == of && former.revision < alias.revision);
            if let Some(alias) = alias {
                alias.history.push(former);
            }
        }
        Ok(())
    }

    /// Makes an alias name a model, whatever it named before, which its history then remembers.
    ///
    /// # Errors
    /// `name-taken`, `alias-changed`, `too-many-aliases`, or `not-found` where the model has gone in the meantime.
    pub async fn set_alias(
        &self,
        name: Name,
        model: ModelId,
        presumed: Presumed,
        bounds: AliasBounds,
    ) -> Result<AliasSet> {
        self.write(move |connection| {
            Box::pin(async move {
                let current = current(&mut *connection, &name).await?;
                check(current.as_ref(), &presumed)?;
                let there: i64 = sqlx::query_scalar("select count(*) from models where id = $1")
                    .bind(model.to_string())
                    .fetch_one(&mut *connection)
                    .await?;
                if there == 0 {
                    return Err(Error::not_found("model", &model.to_string()));
                }
                match current {
                    Some(current) if current.model == model => Ok(AliasSet::Unchanged),
                    Some(current) => {
                        remember(&mut *connection, &name, &current, bounds.history).await?;
                        point(connection, &name, model).await?;
                        Ok(AliasSet::Moved)
                    }
                    None => {
                        create(connection, &name, model, bounds.aliases).await?;
                        Ok(AliasSet::Created)
                    }
                }
            })
        })
        .await
    }

    /// Takes an alias back to a former model: that one and what came after it leave the history. Only where the alias is still at the
    /// revision that the caller looked at.
    ///
    /// # Errors
    /// `alias-changed` (409) where it was moved or deleted, or the model deleted, in the meantime.
    pub async fn roll_back_alias(&self, name: Name, seen: u32, to: FormerModel) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                let moved = || {
                    let detail = "another request has moved or deleted the alias; get it again";
                    Error::new(Kind::Conflict, "alias-changed", detail)
                };
                let current = current(&mut *connection, &name).await?;
                if current.is_none_or(|current| current.revision != seen) {
                    return Err(moved());
                }
                let done = sqlx::query(
                    "delete from alias_history
                    where alias = $1 and revision >= $2
                        and exists (select 1 from alias_history where alias = $1 and revision = $2 and model_id = $3)",
                )
                .bind(name.as_str())
                .bind(to.revision)
                .bind(to.model.to_string())
                .execute(&mut *connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(moved());
                }
                point(connection, &name, to.model).await
            })
        })
        .await
    }

    /// Deletes an alias and its history, not the model.
    ///
    /// # Errors
    /// `not-found`, `alias-changed`.
    pub async fn delete_alias(&self, name: Name, presumed: Presumed) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                let current = current(&mut *connection, &name).await?;
                if current.is_none() && presumed == Presumed::Nothing {
                    return Err(Error::not_found("alias", name.as_str()));
                }
                check(current.as_ref(), &presumed)?;
                sqlx::query("delete from aliases where name = $1")
                    .bind(name.as_str())
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Refuses a name for a model that is an alias.
    ///
    /// # Errors
    /// `name-taken`
    pub async fn check_model_name(&self, name: &Name) -> Result<()> {
        let mut connection = self.readers.acquire().await?;
        refuse_alias(&mut connection, name).await
    }

    /// The name for a model, with a number if an alias has it: nobody chose this name, so nobody is to learn that it is taken.
    pub async fn name_beside_aliases(&self, name: Name) -> Result<Name> {
        let mut connection = self.readers.acquire().await?;
        let mut candidate = name.clone();
        let mut numbers = 2..;
        while current(&mut connection, &candidate).await?.is_some() {
            candidate = name.numbered(numbers.next().unwrap_or(u32::MAX));
        }
        Ok(candidate)
    }
}

/// What an alias names, in a transaction.
struct Current {
    model: ModelId,
    revision: u32,
    moved_at: i64,
}

async fn current(connection: &mut SqliteConnection, name: &Name) -> Result<Option<Current>> {
    let row = sqlx::query("select model_id, revision, moved_at from aliases where name = $1")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Current {
        model: parsed(&row, "model_id")?,
        revision: row.try_get("revision")?,
        moved_at: row.try_get("moved_at")?,
    }))
}

fn check(current: Option<&Current>, presumed: &Presumed) -> Result<()> {
    let fits = match (presumed, current) {
        (Presumed::Nothing, _) | (Presumed::Absent, None) | (Presumed::At(None), Some(_)) => true,
        (Presumed::At(Some(revisions)), Some(current)) => revisions.contains(&current.revision),
        (Presumed::Absent, Some(_)) | (Presumed::At(_), None) => false,
    };
    if fits {
        return Ok(());
    }
    let detail = match current {
        Some(current) => format!(
            "the alias is at revision {}; check which model it points to now",
            current.revision
        ),
        None => "the alias has been deleted".to_owned(),
    };
    Err(Error::new(Kind::Precondition, "alias-changed", detail))
}

async fn remember(
    connection: &mut SqliteConnection,
    name: &Name,
    current: &Current,
    most: u32,
) -> Result<()> {
    sqlx::query("insert into alias_history (alias, revision, model_id, moved_at) values ($1, $2, $3, $4)")
        .bind(name.as_str())
        .bind(current.revision)
        .bind(current.model.to_string())
        .bind(current.moved_at)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "delete from alias_history
        where alias = $1 and revision not in (
            select revision from alias_history where alias = $1 order by revision desc limit $2
        )",
    )
    .bind(name.as_str())
    .bind(most)
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes an alias that is there name this model.
async fn point(connection: &mut SqliteConnection, name: &Name, model: ModelId) -> Result<()> {
    let revision = next_revision(&mut *connection, name).await?;
    sqlx::query("update aliases set model_id = $2, revision = $3, moved_at = $4 where name = $1")
        .bind(name.as_str())
        .bind(model.to_string())
        .bind(revision)
        .bind(Timestamp::now().0)
        .execute(connection)
        .await?;
    Ok(())
}

async fn create(connection: &mut SqliteConnection, name: &Name, model: ModelId, most: u32) -> Result<()> {
    refuse_model_name(&mut *connection, name).await?;
    let count: i64 = sqlx::query_scalar("select count(*) from aliases")
        .fetch_one(&mut *connection)
        .await?;
    if count >= i64::from(most) {
        let detail =
            format!("the limit of {count} aliases is reached; delete some that are no longer needed");
        return Err(Error::new(Kind::Conflict, "too-many-aliases", detail));
    }
    let revision = next_revision(&mut *connection, name).await?;
    sqlx::query(
        "insert into aliases (name, model_id, revision, created_at, moved_at) values ($1, $2, $3, $4, $4)",
    )
    .bind(name.as_str())
    .bind(model.to_string())
    .bind(revision)
    .bind(Timestamp::now().0)
    .execute(connection)
    .await?;
    Ok(())
}

async fn next_revision(connection: &mut SqliteConnection, name: &Name) -> Result<i64> {
    let revision = sqlx::query_scalar(
        "insert into alias_names (name, last_revision)
        values ($1, 1)
        on conflict (name) do update set last_revision = last_revision + 1
        returning last_revision",
    )
    .bind(name.as_str())
    .fetch_one(connection)
    .await?;
    Ok(revision)
}

/// Refuses a name for an alias that models have, or that of an unfinished training, which will make one.
async fn refuse_model_name(connection: &mut SqliteConnection, name: &Name) -> Result<()> {
    let row = sqlx::query(
        "select
            exists (select 1 from models where name = $1) as model,
            exists (select 1 from jobs where name = $1 and kind = 'train' and status in ('queued', 'running')) as training",
    )
    .bind(name.as_str())
    .fetch_one(connection)
    .await?;
    let what = if row.try_get::<bool, _>("model")? {
        "a model has this name"
    } else if row.try_get::<bool, _>("training")? {
        "an unfinished job will use this name for its model"
    } else {
        return Ok(());
    };
    let detail = format!("{what}, so `{name}` would be ambiguous; choose another alias");
    Err(Error::new(Kind::Conflict, "name-taken", detail))
}

/// Refuses a name for a model that is an alias.
pub(super) async fn refuse_alias(connection: &mut SqliteConnection, name: &Name) -> Result<()> {
    if current(connection, name).await?.is_none() {
        return Ok(());
    }
    let detail = format!("`{name}` is already an alias; choose another name");
    Err(Error::new(Kind::Conflict, "name-taken", detail))
}

/// The aliases that name a model.
pub(super) async fn names_of(connection: &mut SqliteConnection, model: ModelId) -> Result<Vec<Name>> {
    let rows = sqlx::query("select name from aliases where model_id = $1 order by name")
        .bind(model.to_string())
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| word(row, "name")).collect()
}

fn read_alias(row: &SqliteRow) -> Result<Alias> {
    Ok(Alias {
        object: "alias".to_owned(),
        name: word(row, "name")?,
        model: parsed(row, "model_id")?,
        model_name: word(row, "model_name")?,
        model_version: row.try_get("model_version")?,
        revision: row.try_get("revision")?,
        created_at: Timestamp(row.try_get("created_at")?),
        moved_at: Timestamp(row.try_get("moved_at")?),
        history: Vec::new(),
    })
}

#[cfg(test)]
pub(super) mod tests;
