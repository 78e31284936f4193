//! Delivers what is due, a message at a time for each webhook, so that a slow target holds up only itself.
//!
//! Woken by a signal of the store, the end of an attempt, the time of the next one, and a timer in any case. What a kill interrupts has not
//! been noted: the message is still due, and is sent again under the same id.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use crate::{
    domain::{
        id::WebhookId,
        sinks::{Attempt, Next, next},
        time::Timestamp,
    },
    error::{Kind, Result},
    jobs::{context::Context, retry::retry},
    store::{DueDelivery, Topic},
};

/// Most attempts at the same time.
const AT_ONCE: usize = 8;
/// Longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Between two tries to read the database, where that fails.
const AFTER_A_FAILURE: Duration = Duration::from_secs(5);

pub async fn run(context: Arc<Context>) {
    if !context.webhooks.are_on() {
        // What is written down stays, for a server that has targets again.
        return;
    }
    let mut outbox = context.store.signals().subscribe(Topic::Outbox);
    let (mut busy, mut attempts) = (HashSet::new(), JoinSet::new());
    while !context.shutdown.is_cancelled() {
        let wait = match begin(&context, &mut busy, &mut attempts).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(%error, "cannot read what webhooks are to be told");
                AFTER_A_FAILURE
            }
        };
        tokio::select! {
            () = context.shutdown.cancelled() => {}
            Ok(()) = outbox.changed() => {}
            Some(ended) = attempts.join_next() => match ended {
                Ok(webhook) => {
                    busy.remove(&webhook);
                }
                // Whose it was is not known: all are looked at again.
                Err(error) => {
                    tracing::error!(%error, "the server failed while it sent a message to a webhook");
                    attempts.shutdown().await;
                    busy.clear();
                }
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
    // Whoever is told twice after the next start knows it by the message's id.
    attempts.shutdown().await;
}

/// Begins what is due; how long until there may be more.
async fn begin(
    context: &Arc<Context>,
    busy: &mut HashSet<WebhookId>,
    attempts: &mut JoinSet<WebhookId>,
) -> Result<Duration> {
    let store = &context.store;
    let free = AT_ONCE.saturating_sub(attempts.len());
    if free == 0 {
        return Ok(LOOK_EVERY);
    }
    let taken: Vec<WebhookId> = busy.iter().copied().collect();
    for due in store
        .due_deliveries(Timestamp::now(), &taken, free as u32)
        .await?
    {
        busy.insert(due.webhook);
        let context = context.clone();
        attempts.spawn(async move {
            let webhook = due.webhook;
            attempt(&context, due).await;
            webhook
        });
    }
    if attempts.len() >= AT_ONCE {
        return Ok(LOOK_EVERY);
    }
    let taken: Vec<WebhookId> = busy.iter().copied().collect();
    let due = store.next_delivery(&taken).await?;
    Ok(due.map_or(LOOK_EVERY, |due| {
        // One more, because a message is due only after its time has come.
        let milliseconds = (due.0 - Timestamp::now().0).max(0) as u64 + 1;
        Duration::from_millis(milliseconds).min(LOOK_EVERY)
    }))
}

async fn attempt(context: &Context, due: DueDelivery) {
    let sent = match context.webhooks.deliver(&due).await {
        Ok(sent) => sent,
        Err(error) if error.kind() == Kind::NotFound => return,
        Err(error) => {
            tracing::error!(%error, "cannot read what a webhook is to be told");
            // It is still due.
            return tokio::time::sleep(AFTER_A_FAILURE).await;
        }
    };
    let (id, webhook) = (due.id, due.webhook);
    let mut attempts = due.attempts;
    attempts.push(sent.attempt);
    let Some(last) = attempts.last() else { return };
    let next = next(attempts.len(), last, Timestamp::now(), sent.retry_after, chance());
    tell(webhook, last, next);
    let note = || context.store.note_attempt(id, webhook, attempts.clone(), next);
    retry(
        context,
        &webhook,
        "note what came of a message to a webhook",
        note,
    )
    .await;
}

fn tell(webhook: WebhookId, last: &Attempt, next: Next) {
    let error = last.error.as_deref().unwrap_or_default();
    match next {
        Next::Delivered => tracing::debug!(%webhook, "told a webhook"),
        Next::Again(at) => {
            tracing::info!(%webhook, error, next = at.to_rfc3339(), "cannot tell a webhook; trying again");
        }
        Next::GivenUp => tracing::warn!(%webhook, error, "gave up a message to a webhook"),
        Next::Gone => tracing::warn!(%webhook, error, "switched off a webhook"),
    }
}

/// 0 to 1.
fn chance() -> f64 {
    let mut random = [0; 4];
    match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
