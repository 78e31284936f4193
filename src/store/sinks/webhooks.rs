//! Rows of webhooks.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    domain::{
        id::WebhookId,
        page::{Order, Page, PageRequest},
        sinks::{DisabledReason, NewWebhook, Webhook, WebhookEdit},
        tag::Tag,
        time::Timestamp,
    },
    error::{Error, Kind, Result},
    store::{
        Store, Topic,
        row::{check_seen, count, json, parsed, to_json, word},
    },
};

/// What its messages are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretOf {
    /// Of the current secret, from 1.
    pub number: u32,
    /// SHA-256 of it.
    pub digest: String,
    /// Until then the one before signs too.
    pub old_until: Option<Timestamp>,
}

/// A webhook with what waits for it.
const COLUMNS: &str = "webhooks.*,
    (select count(*) from webhook_deliveries where webhook_id = webhooks.id and status = 'pending') as pending";

impl Store {
    /// Adds a webhook of this id, whose first secret has this digest.
    ///
    /// # Errors
    /// `too-many-webhooks`
    pub async fn create_webhook(&self, id: WebhookId, new: NewWebhook, digest: String) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                let count: i64 = sqlx::query_scalar("select count(*) from webhooks")
                    .fetch_one(&mut *connection)
                    .await?;
                if count >= i64::from(Webhook::MOST) {
                    let detail = format!("there are {count} webhooks, which is the limit; delete one that is no longer needed");
                    return Err(Error::new(Kind::Conflict, "too-many-webhooks", detail));
                }
                sqlx::query(
                    "insert into webhooks (id, url, events, description, created_at, secret_number, secret_digest)
                    values ($1, $2, $3, $4, $5, 1, $6)",
                )
                .bind(id.to_string())
                .bind(new.url)
                .bind(to_json(&new.events)?)
                .bind(new.description)
                .bind(Timestamp::now().0)
                .bind(digest)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// # Errors
    /// `not-found`
    pub async fn webhook(&self, reference: &str) -> Result<Webhook> {
        find(&mut *self.readers.acquire().await?, reference).await
    }

    pub async fn webhooks(&self, page: &PageRequest) -> Result<Page<Webhook>> {
        let (comparison, direction) = match page.order {
            Order::Desc => ("<", "desc"),
            Order::Asc => (">", "asc"),
        };
        let sql = format!(
            "select {COLUMNS}
            from webhooks
            where ($1 is null or id {comparison} $1)
            order by id {direction}
            limit $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&page.after)
            .bind(page.limit + 1)
            .fetch_all(&self.readers)
            .await?;
        let webhooks = rows.iter().map(read_webhook).collect::<Result<Vec<_>>>()?;
        Ok(Page::from_rows(webhooks, page.limit))
    }

    /// Changes a webhook. Switched on again it has not failed yet; switched off, what waits for it is given up.
    ///
    /// # Errors
    /// `not-found`; `changed` if it is no longer as it was seen.
    pub async fn edit_webhook(&self, id: WebhookId, edit: WebhookEdit, seen: Option<Tag>) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                check_seen(seen.as_ref(), &find(&mut *connection, &id.to_string()).await?)?;
                let events = edit.events.as_ref().map(to_json).transpose()?;
                let changes_text = edit.description.is_some();
                sqlx::query(
                    "update webhooks
                    set url = coalesce($2, url), events = coalesce($3, events),
                        description = case when $4 then $5 else description end
                    where id = $1",
                )
                .bind(id.to_string())
                .bind(edit.url)
                .bind(events)
                .bind(changes_text)
                .bind(edit.description.flatten())
                .execute(&mut *connection)
                .await?;
                match edit.enabled {
                    Some(true) => switch_on(connection, id).await,
                    Some(false) => switch_off(connection, id, DisabledReason::Paused).await,
                    None => Ok(()),
                }
            })
        })
        .await?;
        self.signals.notify(Topic::Outbox);
        Ok(())
    }

    /// Deletes a webhook with all of its messages.
    ///
    /// # Errors
    /// `not-found`; `changed` if it is no longer as it was seen.
    pub async fn delete_webhook(&self, id: WebhookId, seen: Option<Tag>) -> Result<()> {
        self.write_even_if_full(move |connection| {
            Box::pin(async move {
                check_seen(seen.as_ref(), &find(&mut *connection, &id.to_string()).await?)?;
                sqlx::query("delete from webhooks where id = $1")
                    .bind(id.to_string())
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// # Errors
    /// `not-found`
    pub async fn webhook_secret(&self, id: WebhookId) -> Result<SecretOf> {
        let row = sqlx::query(
            "select secret_number, secret_digest, old_secret_until
            from webhooks
            where id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&self.readers)
        .await?;
        let row = row.ok_or_else(|| Error::not_found("webhook", &id.to_string()))?;
        Ok(SecretOf {
            number: row.try_get("secret_number")?,
            digest: row.try_get("secret_digest")?,
            old_until: row.try_get::<Option<i64>, _>("old_secret_until")?.map(Timestamp),
        })
    }

    /// Gives a webhook the next secret, if its current one still is of this number.
    ///
    /// # Errors
    /// `secret-changed`: somebody else was first.
    pub async fn change_webhook_secret(&self, id: WebhookId, before: u32, now: SecretOf) -> Result<()> {
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "update webhooks
                    set secret_number = $3, secret_digest = $4, old_secret_until = $5
                    where id = $1 and secret_number = $2",
                )
                .bind(id.to_string())
                .bind(before)
                .bind(now.number)
                .bind(now.digest)
                .bind(now.old_until.map(|until| until.0))
                .execute(connection)
                .await?;
                match done.rows_affected() {
                    0 => {
                        let detail =
                            "the webhook's secret was changed at the same moment; change it again to get one";
                        Err(Error::new(Kind::Conflict, "secret-changed", detail))
                    }
                    _ => Ok(()),
                }
            })
        })
        .await
    }
}

async fn switch_on(connection: &mut SqliteConnection, id: WebhookId) -> Result<()> {
    sqlx::query(
        "update webhooks
        set disabled_reason = null, failing_since = null
        where id = $1 and disabled_reason is not null",
    )
    .bind(id.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// What waits for a webhook that is off is given up, so that nobody is told of last month when it is switched on again.
pub(super) async fn switch_off(
    connection: &mut SqliteConnection,
    id: WebhookId,
    reason: DisabledReason,
) -> Result<()> {
    sqlx::query("update webhooks set disabled_reason = $2 where id = $1 and disabled_reason is null")
        .bind(id.to_string())
        .bind(reason.as_str())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "update webhook_deliveries
        set status = 'failed', next_attempt_at = null, ended_at = $2, error = 'the webhook was switched off'
        where webhook_id = $1 and status = 'pending'",
    )
    .bind(id.to_string())
    .bind(Timestamp::now().0)
    .execute(connection)
    .await?;
    Ok(())
}

async fn find(connection: &mut SqliteConnection, reference: &str) -> Result<Webhook> {
    let sql = format!("select {COLUMNS} from webhooks where id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(reference)
        .fetch_optional(connection)
        .await?;
    read_webhook(&row.ok_or_else(|| Error::not_found("webhook", reference))?)
}

fn read_webhook(row: &SqliteRow) -> Result<Webhook> {
    let disabled_reason = match row.try_get::<Option<&str>, _>("disabled_reason")? {
        Some(_) => Some(word(row, "disabled_reason")?),
        None => None,
    };
    Ok(Webhook {
        id: parsed(row, "id")?,
        object: "webhook".to_owned(),
        url: row.try_get("url")?,
        events: json(row, "events")?,
        description: row.try_get("description")?,
        enabled: disabled_reason.is_none(),
        disabled_reason,
        created_at: Timestamp(row.try_get("created_at")?),
        failing_since: row.try_get::<Option<i64>, _>("failing_since")?.map(Timestamp),
        pending: count(row, "pending")?,
    })
}
