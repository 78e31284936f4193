//! Writes down what webhooks are to be told, in the transaction that makes it so.
//!
//! Called where a job or a dataset ends. Who has asked for nothing costs one query.

use serde::Serialize;
use sqlx::{Row, SqliteConnection};

use crate::{
    domain::{
        id::DeliveryId,
        sinks::{EventType, Webhook, payload},
        time::Timestamp,
    },
    error::{Error, Result},
    store::row::json,
};

/// What a message that found no room failed of.
const TOO_MANY: &str = "too many messages were waiting for this webhook";

/// Whether any webhook that is on wants this.
pub(in crate::store) async fn is_wanted(connection: &mut SqliteConnection, event: EventType) -> Result<bool> {
    Ok(!subscribers(connection, event).await?.is_empty())
}

/// A message to each webhook that wants it.
pub(in crate::store) async fn announce(
    connection: &mut SqliteConnection,
    event: EventType,
    data: &impl Serialize,
) -> Result<()> {
    let now = Timestamp::now();
    let text = payload(event, now, data).map_err(Error::internal)?;
    for webhook in subscribers(connection, event).await? {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from webhook_deliveries where webhook_id = $1 and status = 'pending'",
        )
        .bind(&webhook)
        .fetch_one(&mut *connection)
        .await?;
        let has_room = waiting < i64::from(Webhook::MOST_PENDING);
        sqlx::query(
            "insert into webhook_deliveries
                (id, webhook_id, event, payload, status, created_at, next_attempt_at, attempts, error, ended_at)
            values ($1, $2, $3, $4, $5, $6, $7, '[]', $8, $9)",
        )
        .bind(DeliveryId::new().to_string())
        .bind(&webhook)
        .bind(event.as_str())
        .bind(&text)
        .bind(if has_room { "pending" } else { "failed" })
        .bind(now.0)
        .bind(has_room.then_some(now.0))
        .bind((!has_room).then_some(TOO_MANY))
        .bind((!has_room).then_some(now.0))
        .execute(&mut *connection)
        .await?;
        forget_old(connection, &webhook).await?;
    }
    Ok(())
}

/// Ended messages of a webhook that are more than are remembered.
pub(super) async fn forget_old(connection: &mut SqliteConnection, webhook: &str) -> Result<()> {
    sqlx::query(
        "delete from webhook_deliveries
        where webhook_id = $1 and status <> 'pending' and id <= (
            select id
            from webhook_deliveries
            where webhook_id = $1 and status <> 'pending'
            order by id desc
            limit 1 offset $2
        )",
    )
    .bind(webhook)
    .bind(Webhook::MOST_ENDED)
    .execute(connection)
    .await?;
    Ok(())
}

async fn subscribers(connection: &mut SqliteConnection, event: EventType) -> Result<Vec<String>> {
    let rows = sqlx::query("select id, events from webhooks where disabled_reason is null order by id")
        .fetch_all(connection)
        .await?;
    let mut found = Vec::new();
    for row in &rows {
        let events: Vec<EventType> = json(row, "events")?;
        if events.contains(&event) {
            found.push(row.try_get("id")?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
