//! What a database says of the data directory that it belongs to, and a look at a database that changes nothing.

use std::{fs, io, path::Path};

use anyhow::Context;
use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

use crate::{
    domain::data_directory::{FoundDatabase, Identity},
    error::Result,
    store::Store,
};

impl Store {
    /// Looks at a database file before anybody opens it for good: nothing is made, migrated or recovered.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub async fn look(file: &Path) -> anyhow::Result<FoundDatabase> {
        match fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FoundDatabase::Missing),
            Err(error) => return Err(error).context("cannot read the database"),
            Ok(metadata) if metadata.len() == 0 => return Ok(FoundDatabase::Empty),
            Ok(_) => {}
        }
        let looked = async {
            let mut connection = reading(file).connect().await?;
            let found = look_through(&mut connection).await;
            connection.close().await?;
            found
        };
        match looked.await {
            Err(error) if is_code(&error, "26") => Ok(FoundDatabase::Foreign),
            Err(error) => Err(error).context("the database is damaged: restore it from a backup"),
            Ok(found) => Ok(found),
        }
    }

    /// The newest migration that this program knows.
    pub fn newest_migration() -> i64 {
        sqlx::migrate!()
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0)
    }

    /// What this database says of its data directory; none before anything was said.
    pub async fn identity(&self) -> Result<Option<Identity>> {
        let row = sqlx::query("select id, generation, mark, mark_before from data_directory")
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.as_ref().map(read_identity).transpose()?)
    }

    pub async fn set_identity(&self, identity: Identity) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "insert into data_directory (one, id, generation, mark, mark_before)
                    values (1, $1, $2, $3, $4)
                    on conflict (one) do update
                    set id = excluded.id, generation = excluded.generation, mark = excluded.mark, mark_before = excluded.mark_before",
                )
                .bind(identity.id)
                .bind(i64::try_from(identity.generation).unwrap_or(i64::MAX))
                .bind(identity.mark)
                .bind(identity.mark_before)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }
}

/// Without a log of writes beside it a database is one file, which is read as it is. With one it is read as any reader does it: what the
/// log holds counts, and stays where it is.
pub(in crate::store) fn reading(file: &Path) -> SqliteConnectOptions {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let has_log = fs::metadata(Path::new(&log)).is_ok_and(|metadata| metadata.len() > 0);
    SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .immutable(!has_log)
}

async fn look_through(connection: &mut SqliteConnection) -> sqlx::Result<FoundDatabase> {
    let tables: Vec<String> = sqlx::query_scalar("select name from sqlite_master where type = 'table'")
        .fetch_all(&mut *connection)
        .await?;
    if tables.is_empty() {
        return Ok(FoundDatabase::Empty);
    }
    let has = |name: &str| tables.iter().any(|table| table == name);
    if !has("_sqlx_migrations") {
        return Ok(FoundDatabase::Foreign);
    }
    let migration: Option<i64> = sqlx::query_scalar("select max(version) from _sqlx_migrations")
        .fetch_one(&mut *connection)
        .await?;
    let mut identity = None;
    if has("data_directory") {
        let row = sqlx::query("select id, generation, mark, mark_before from data_directory")
            .fetch_optional(connection)
            .await?;
        identity = row.as_ref().map(read_identity).transpose()?;
    }
    Ok(FoundDatabase::Ours {
        migration: migration.unwrap_or(0),
        identity,
    })
}

fn read_identity(row: &SqliteRow) -> sqlx::Result<Identity> {
    Ok(Identity {
        id: row.try_get("id")?,
        generation: row.try_get::<i64, _>("generation")?.max(0) as u64,
        mark: row.try_get("mark")?,
        mark_before: row.try_get("mark_before")?,
    })
}

fn is_code(error: &sqlx::Error, code: &str) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|found| found == code)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    #[tokio::test]
    async fn a_look_tells_what_is_there_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("finetuned.db");
        assert_eq!(Store::look(&file).await.unwrap(), FoundDatabase::Missing);
        fs::write(&file, "").unwrap();
        assert_eq!(Store::look(&file).await.unwrap(), FoundDatabase::Empty);
        fs::write(&file, "no database, but longer than the head of one".repeat(50)).unwrap();
        assert_eq!(Store::look(&file).await.unwrap(), FoundDatabase::Foreign);
        fs::remove_file(&file).unwrap();
        assert!(files(folder.path()).is_empty());

        let store = Store::open(&file).await.unwrap();
        let migration = Store::newest_migration();
        let ours = |identity| FoundDatabase::Ours { migration, identity };
        let identity = Identity::first();
        store.set_identity(identity.clone()).await.unwrap();
        store.set_identity(identity.next()).await.unwrap();
        let identity = store.identity().await.unwrap().unwrap();
        assert_eq!(identity.generation, 2);
        store.close().await;
        let before = files(folder.path());
        assert_eq!(Store::look(&file).await.unwrap(), ours(Some(identity.clone())));
        assert_eq!(files(folder.path()), before);
    }

    #[tokio::test]
    async fn a_look_sees_what_a_killed_server_left_in_the_log_and_leaves_it_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("finetuned.db");
        let store = Store::open(&file).await.unwrap();
        let identity = Identity::first();
        store.set_identity(identity.clone()).await.unwrap();
        // The files as they are in this moment: what a kill leaves.
        let killed = tempfile::tempdir().unwrap();
        for (name, bytes) in files(folder.path()) {
            if !name.ends_with("-shm") {
                fs::write(killed.path().join(name), bytes).unwrap();
            }
        }
        store.close().await;
        let before = files(killed.path());
        assert!(!before["finetuned.db-wal"].is_empty());
        let found = Store::look(&killed.path().join("finetuned.db")).await.unwrap();
        let FoundDatabase::Ours { identity: found, .. } = found else {
            panic!("{found:?}");
        };
        assert_eq!(found, Some(identity));
        let after = files(killed.path());
        for (name, bytes) in before {
            assert_eq!(after[&name], bytes, "{name}");
        }
    }

    #[tokio::test]
    async fn a_database_of_something_else_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("finetuned.db");
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true);
        let mut other = options.connect().await.unwrap();
        sqlx::query("create table notes (text text)")
            .execute(&mut other)
            .await
            .unwrap();
        other.close().await.unwrap();
        assert_eq!(Store::look(&file).await.unwrap(), FoundDatabase::Foreign);
    }
}
