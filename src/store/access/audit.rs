//! Rows of the audit log.

use std::sync::Arc;

use sqlx::{Row, sqlite::SqliteRow};

use crate::{
    domain::{
        access::{AuditRecord, Holder},
        page::{Order, Page, PageRequest},
        time::Timestamp,
    },
    error::{Error, Result},
    store::{
        Store,
        row::{count, optional_parsed, parsed, word},
    },
};

/// Which records a list is about.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Id or name of a key, or `none`.
    pub key: Option<String>,
    pub thing: Option<String>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl Store {
    pub async fn add_audit(&self, records: Arc<[AuditRecord]>) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                for record in records.iter() {
                    sqlx::query(
                        "insert into audit (id, at, key_id, key_name, method, route, thing, status, address, request_id, skipped)
                        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                    )
                    .bind(record.id.to_string())
                    .bind(record.at.0)
                    .bind(record.key.as_ref().map(|key| key.id.to_string()))
                    .bind(record.key.as_ref().map(|key| key.name.as_str()))
                    .bind(&record.method)
                    .bind(&record.route)
                    .bind(&record.thing)
                    .bind(record.status)
                    .bind(record.address.map(|address| address.to_string()))
                    .bind(&record.request_id)
                    .bind(i64::try_from(record.skipped).unwrap_or(i64::MAX))
                    .execute(&mut *connection)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub async fn audit(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditRecord>> {
        let (comparison, direction) = match page.order {
            Order::Desc => ("<", "desc"),
            Order::Asc => (">", "asc"),
        };
        let sql = format!(
            "select * from audit
            where ($1 is null or id {comparison} $1)
                and ($2 is null or key_id = $2 or key_name = $2 or ($2 = 'none' and key_id is null))
                and ($3 is null or thing = $3)
                and ($4 is null or at >= $4)
                and ($5 is null or at < $5)
            order by id {direction}
            limit $6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&page.after)
            .bind(&filter.key)
            .bind(&filter.thing)
            .bind(filter.since.map(|time| time.0))
            .bind(filter.until.map(|time| time.0))
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let records = rows.iter().map(read_record).collect::<Result<Vec<_>>>()?;
        Ok(Page::from_rows(records, page.limit))
    }

    /// What commands have done after the record of this id, oldest first.
    pub async fn commands_after(&self, id: &str) -> Result<Vec<AuditRecord>> {
        let rows =
            sqlx::query("select * from audit where method = 'COMMAND' and id > $1 order by id limit 1000")
                .bind(id)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(read_record).collect()
    }

    /// Forgets records that are older than `oldest`, and the oldest of more than `most`. How many those were.
    pub async fn prune_audit(&self, oldest: Timestamp, most: u64) -> Result<u64> {
        // Mostly there is nothing to forget, and then nothing is written.
        let is_due: bool = sqlx::query_scalar(
            "select exists (select 1 from audit where at < $1)
                or exists (select 1 from audit order by id desc limit 1 offset $2)",
        )
        .bind(oldest.0)
        .bind(as_integer(most))
        .fetch_one(&self.readers)
        .await?;
        if !is_due {
            return Ok(0);
        }
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "delete from audit
                    where at < $1 or id <= (select id from audit order by id desc limit 1 offset $2)",
                )
                .bind(oldest.0)
                .bind(as_integer(most))
                .execute(connection)
                .await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}

fn as_integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read_record(row: &SqliteRow) -> Result<AuditRecord> {
    let key = optional_parsed(row, "key_id")?;
    let key = key.map(|id| -> Result<Holder> {
        Ok(Holder {
            id,
            name: word(row, "key_name")?,
        })
    });
    let status: Option<i64> = row.try_get("status")?;
    let status = status.map(u16::try_from).transpose();
    Ok(AuditRecord {
        id: parsed(row, "id")?,
        object: "audit_record".to_owned(),
        at: Timestamp(row.try_get("at")?),
        key: key.transpose()?,
        method: row.try_get("method")?,
        route: row.try_get("route")?,
        thing: row.try_get("thing")?,
        status: status.map_err(Error::internal)?,
        address: optional_parsed(row, "address")?,
        request_id: row.try_get("request_id")?,
        skipped: count(row, "skipped")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::id::KeyId,
        fixtures::{Stand, holder},
    };

    fn page(limit: u32) -> PageRequest {
        PageRequest {
            limit,
            after: None,
            order: Order::Desc,
        }
    }

    #[tokio::test]
    async fn records_read_back_and_are_found_by_key_thing_and_time() {
        let stand = Stand::new().await;
        let (store, team) = (&stand.store, holder("team"));
        let at = |time: i64, thing: &str, key: Option<&Holder>| AuditRecord {
            at: Timestamp(time),
            key: key.cloned(),
            thing: Some(thing.to_owned()),
            status: Some(201),
            address: Some("192.0.2.7".parse().unwrap()),
            request_id: Some("r-1".to_owned()),
            skipped: 3,
            ..AuditRecord::new("POST", "/v1/datasets")
        };
        let records = [
            at(10, "ds_1", Some(&team)),
            at(20, "ds_2", None),
            at(30, "ds_1", Some(&team)),
        ];
        store.add_audit(records.clone().into()).await.unwrap();
        let all = store.audit(&AuditFilter::default(), &page(2)).await.unwrap();
        assert_eq!(
            (&all.data[..], all.has_more),
            (&[records[2].clone(), records[1].clone()][..], true)
        );
        let found = async |filter: AuditFilter| -> Vec<i64> {
            let found = store.audit(&filter, &page(9)).await.unwrap().data;
            found.iter().map(|record| record.at.0).collect()
        };
        let key = |key: &str| AuditFilter {
            key: Some(key.to_owned()),
            ..AuditFilter::default()
        };
        assert_eq!(found(key("team")).await, [30, 10]);
        assert_eq!(found(key(&team.id.to_string())).await, [30, 10]);
        assert_eq!(found(key("none")).await, [20]);
        let thing = AuditFilter {
            thing: Some("ds_1".to_owned()),
            until: Some(Timestamp(30)),
            ..AuditFilter::default()
        };
        assert_eq!(found(thing).await, [10]);
        let since = AuditFilter {
            since: Some(Timestamp(20)),
            ..AuditFilter::default()
        };
        assert_eq!(found(since).await, [30, 20]);
    }

    #[tokio::test]
    async fn old_records_go_by_age_and_by_number() {
        let stand = Stand::new().await;
        let store = &stand.store;
        let record = |time: i64| AuditRecord {
            at: Timestamp(time),
            ..AuditRecord::command("keys create", KeyId::new())
        };
        let records: Vec<_> = (0..10).map(record).collect();
        store.add_audit(records.clone().into()).await.unwrap();
        assert_eq!(store.prune_audit(Timestamp(0), 10).await.unwrap(), 0);
        assert_eq!(store.prune_audit(Timestamp(3), 10).await.unwrap(), 3);
        assert_eq!(store.prune_audit(Timestamp(0), 5).await.unwrap(), 2);
        let left = store.commands_after(&records[6].id.to_string()).await.unwrap();
        assert_eq!(left, records[7..]);
        let left = store.audit(&AuditFilter::default(), &page(9)).await.unwrap().data;
        assert_eq!(left.len(), 5);
        assert_eq!(store.prune_audit(Timestamp(0), 0).await.unwrap(), 5);
    }
}
