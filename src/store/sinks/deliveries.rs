//! Messages to webhooks: which are due, what came of an attempt, and the log of all of them.

use sqlx::{Row, sqlite::SqliteRow};

use super::{outbox::forget_old, webhooks::switch_off};
use crate::{
    domain::{
        id::{DeliveryId, WebhookId},
        page::{Order, Page, PageRequest},
        sinks::{Attempt, Delivery, DeliveryStatus, DisabledReason, EventType, Next, Webhook},
        time::Timestamp,
    },
    error::{Error, Result},
    store::{
        Store,
        row::{
            count, json,
            list::{self, one_of},
            parsed, to_json, word,
        },
    },
};

/// A message whose time has come.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    pub url: String,
    pub payload: String,
    pub attempts: Vec<Attempt>,
}

impl Store {
    /// The message that is due for longest of each webhook, except of those that are `busy`; at most `limit`.
    pub async fn due_deliveries(
        &self,
        now: Timestamp,
        busy: &[WebhookId],
        limit: u32,
    ) -> Result<Vec<DueDelivery>> {
        let rows = sqlx::query(concat!(
            "select deliveries.id, webhook_id, url, payload, attempts
            from webhook_deliveries as deliveries
            join webhooks on webhooks.id = webhook_id
            where deliveries.id in (
                select id
                from (
                    select id, row_number() over (partition by webhook_id order by next_attempt_at, id) as place
                    from webhook_deliveries
                    where status = 'pending' and next_attempt_at <= $1 and webhook_id not in ",
            one_of!("$2"),
            "   ) as due
                where place = 1
            )
            order by next_attempt_at, deliveries.id
            limit $3",
        ))
        .bind(now.0)
        .bind(list::bound(busy)?)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(DueDelivery {
                    id: parsed(row, "id")?,
                    webhook: parsed(row, "webhook_id")?,
                    url: row.try_get("url")?,
                    payload: row.try_get("payload")?,
                    attempts: json(row, "attempts")?,
                })
            })
            .collect()
    }

    /// When the next message of webhooks that are not `busy` is due.
    pub async fn next_delivery(&self, busy: &[WebhookId]) -> Result<Option<Timestamp>> {
        let next: Option<i64> = sqlx::query_scalar(concat!(
            "select min(next_attempt_at)
            from webhook_deliveries
            where status = 'pending' and webhook_id not in ",
            one_of!("$1"),
        ))
        .bind(list::bound(busy)?)
        .fetch_one(&self.readers)
        .await?;
        Ok(next.map(Timestamp))
    }

    /// Notes an attempt and what follows it. What was deleted or given up meanwhile stays so.
    pub async fn note_attempt(
        &self,
        id: DeliveryId,
        webhook: WebhookId,
        attempts: Vec<Attempt>,
        next: Next,
    ) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                let now = Timestamp::now();
                let (status, again) = match next {
                    Next::Delivered => ("delivered", None),
                    Next::Again(at) => ("pending", Some(at.0)),
                    Next::GivenUp | Next::Gone => ("failed", None),
                };
                sqlx::query(
                    "update webhook_deliveries
                    set status = $2, next_attempt_at = $3, attempts = $4, ended_at = $5
                    where id = $1 and status = 'pending'",
                )
                .bind(id.to_string())
                .bind(status)
                .bind(again)
                .bind(to_json(&attempts)?)
                .bind(again.is_none().then_some(now.0))
                .execute(&mut *connection)
                .await?;
                let failing_since: Option<i64> = sqlx::query_scalar(
                    "update webhooks
                    set failing_since = case when $2 then null else coalesce(failing_since, $3) end
                    where id = $1
                    returning failing_since",
                )
                .bind(webhook.to_string())
                .bind(next == Next::Delivered)
                .bind(now.0)
                .fetch_optional(&mut *connection)
                .await?
                .flatten();
                let is_hopeless =
                    failing_since.is_some_and(|since| now.0 - since > Webhook::FAILING_MILLISECONDS);
                match next {
                    Next::Gone => switch_off(connection, webhook, DisabledReason::Gone).await?,
                    _ if is_hopeless => switch_off(connection, webhook, DisabledReason::Failing).await?,
                    _ => {}
                }
                forget_old(connection, &webhook.to_string()).await
            })
        })
        .await
    }

    /// Writes down a message that was tried once, outside the queue.
    pub async fn note_test(
        &self,
        id: DeliveryId,
        webhook: WebhookId,
        payload: String,
        attempt: Attempt,
    ) -> Result<Delivery> {
        self.write(move |connection| {
            Box::pin(async move {
                let status = match attempt.error {
                    None => "delivered",
                    Some(_) => "failed",
                };
                sqlx::query(
                    "insert into webhook_deliveries (id, webhook_id, event, payload, status, created_at, attempts, ended_at)
                    select $1, id, $3, $4, $5, $6, $7, $8
                    from webhooks
                    where id = $2",
                )
                .bind(id.to_string())
                .bind(webhook.to_string())
                .bind(EventType::Test.as_str())
                .bind(payload)
                .bind(status)
                .bind(attempt.at.0)
                .bind(to_json(&[&attempt])?)
                .bind(Timestamp::now().0)
                .execute(&mut *connection)
                .await?;
                forget_old(connection, &webhook.to_string()).await?;
                let row = sqlx::query("select * from webhook_deliveries where id = $1")
                    .bind(id.to_string())
                    .fetch_optional(connection)
                    .await?;
                read_delivery(&row.ok_or_else(|| Error::not_found("webhook", &webhook.to_string()))?)
            })
        })
        .await
    }

    /// The log of a webhook.
    pub async fn deliveries(
        &self,
        webhook: WebhookId,
        status: Option<DeliveryStatus>,
        page: &PageRequest,
    ) -> Result<Page<Delivery>> {
        let (comparison, direction) = match page.order {
            Order::Desc => ("<", "desc"),
            Order::Asc => (">", "asc"),
        };
        let sql = format!(
            "select *
            from webhook_deliveries
            where webhook_id = $1 and ($2 is null or id {comparison} $2) and ($3 is null or status = $3)
            order by id {direction}
            limit $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(webhook.to_string())
            .bind(&page.after)
            .bind(status.map(DeliveryStatus::as_str))
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let deliveries = rows.iter().map(read_delivery).collect::<Result<Vec<_>>>()?;
        Ok(Page::from_rows(deliveries, page.limit))
    }

    /// How many messages wait to be delivered.
    pub async fn pending_deliveries(&self) -> Result<u64> {
        let row = sqlx::query("select count(*) as pending from webhook_deliveries where status = 'pending'")
            .fetch_one(&self.readers)
            .await?;
        count(&row, "pending")
    }

    /// Messages that were delivered or given up before this time: how many, and the bytes of what they hold.
    pub async fn old_deliveries(&self, before: Timestamp) -> Result<(u64, u64)> {
        let row = sqlx::query(
            "select count(*) as messages, coalesce(sum(length(payload) + length(attempts)), 0) as bytes
            from webhook_deliveries
            where status <> 'pending' and ended_at < $1",
        )
        .bind(before.0)
        .fetch_one(&self.readers)
        .await?;
        Ok((count(&row, "messages")?, count(&row, "bytes")?))
    }

    /// Removes them. How many.
    pub async fn forget_old_deliveries(&self, before: Timestamp) -> Result<u64> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                let done =
                    sqlx::query("delete from webhook_deliveries where status <> 'pending' and ended_at < $1")
                        .bind(before.0)
                        .execute(connection)
                        .await?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}

fn read_delivery(row: &SqliteRow) -> Result<Delivery> {
    let next: Option<i64> = row.try_get("next_attempt_at")?;
    Ok(Delivery {
        id: parsed(row, "id")?,
        object: "webhook_delivery".to_owned(),
        webhook: parsed(row, "webhook_id")?,
        event: word(row, "event")?,
        status: word(row, "status")?,
        created_at: Timestamp(row.try_get("created_at")?),
        next_attempt_at: next.map(Timestamp),
        attempts: json(row, "attempts")?,
        error: row.try_get("error")?,
        payload: json(row, "payload")?,
    })
}
