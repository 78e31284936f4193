use serde_json::json;

use super::*;
use crate::{
    domain::{
        id::WebhookId,
        jobs::job::{FailureCode, JobError},
        page::{Order, PageRequest},
        sinks::{Attempt, Delivery, DeliveryStatus, DisabledReason, NewWebhook, Next, WebhookEdit},
    },
    fixtures::Stand,
    store::{Interruption, Store},
};

async fn webhook(store: &Store, events: &[EventType]) -> WebhookId {
    let id = WebhookId::new();
    let new = NewWebhook {
        url: "https://hooks.example.org/".to_owned(),
        events: events.to_vec(),
        description: None,
    };
    store.create_webhook(id, new, "digest".to_owned()).await.unwrap();
    id
}

async fn log(store: &Store, webhook: WebhookId) -> Vec<Delivery> {
    let page = PageRequest {
        limit: 100,
        after: None,
        order: Order::Asc,
    };
    store.deliveries(webhook, None, &page).await.unwrap().data
}

fn failed() -> Attempt {
    Attempt {
        at: Timestamp::now(),
        milliseconds: 3,
        status: None,
        error: Some("Connection refused".to_owned()),
    }
}

/// So many messages, as if as many jobs had failed.
async fn announce_many(store: &Store, count: u32) {
    store
        .write(move |connection| {
            Box::pin(async move {
                for number in 0..count {
                    announce(connection, EventType::JobFailed, &json!({"number": number})).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn each_way_in_which_a_job_ends_leaves_one_message() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let all = webhook(store, &EventType::OFFERED).await;
    let failures = webhook(store, &[EventType::JobFailed]).await;
    let dataset = stand.dataset("things").await;
    let claim = async || {
        let job = stand.submit(&dataset, json!({"max_attempts": 1})).await;
        let claimed = store
            .claim_job(vec!["cpu".to_owned()], false)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(claimed.id, job);
        job
    };
    let error = JobError::new(FailureCode::OutOfMemory, "there is too little memory");
    let job = claim().await;
    assert!(store.fail_job(job, 1, error.clone()).await.unwrap());
    assert!(
        !store.fail_job(job, 1, error.clone()).await.unwrap(),
        "it ends once"
    );
    let job = claim().await;
    store
        .interrupt_job(job, 1, Interruption::Died(error))
        .await
        .unwrap();
    let job = claim().await;
    store
        .complete_job_without_model(job, 1, "result".to_owned(), None)
        .await
        .unwrap();
    for is_interrupted in [true, false] {
        let job = claim().await;
        store.cancel_job(job, None).await.unwrap();
        match is_interrupted {
            true => store.interrupt_job(job, 1, Interruption::Drained).await.unwrap(),
            false => store.finish_cancelled(job, 1).await.unwrap(),
        };
    }
    let job = stand.submit(&dataset, json!({})).await;
    store.cancel_job(job, None).await.unwrap();
    let told: Vec<&str> = log(store, all)
        .await
        .iter()
        .map(|one| one.event.as_str())
        .collect();
    let expected = [
        "dataset.ready",
        "job.failed",
        "job.failed",
        "job.succeeded",
        "job.cancelled",
        "job.cancelled",
        "job.cancelled",
    ];
    assert_eq!(told, expected);
    let log = log(store, failures).await;
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].payload["data"]["error"]["code"], "out_of_memory");
    assert_eq!(log[0].payload["type"], "job.failed");
}

#[tokio::test]
async fn what_waits_for_a_webhook_is_bounded_and_so_is_what_is_remembered() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let id = webhook(store, &[EventType::JobFailed]).await;
    announce_many(store, Webhook::MOST_PENDING + 2).await;
    let is = |pending: u64| async move {
        assert_eq!(store.webhook(&id.to_string()).await.unwrap().pending, pending);
    };
    is(1000).await;
    let page = PageRequest {
        limit: 3,
        after: None,
        order: Order::Desc,
    };
    let newest = store
        .deliveries(id, Some(DeliveryStatus::Failed), &page)
        .await
        .unwrap()
        .data;
    assert_eq!(newest.len(), 2);
    assert_eq!(newest[0].error.as_deref(), Some(TOO_MANY));
    // Those that ended first are forgotten first.
    let paused = WebhookEdit {
        enabled: Some(false),
        ..WebhookEdit::default()
    };
    store.edit_webhook(id, paused, None).await.unwrap();
    is(0).await;
    let on = WebhookEdit {
        enabled: Some(true),
        ..WebhookEdit::default()
    };
    store.edit_webhook(id, on, None).await.unwrap();
    announce_many(store, 1).await;
    is(1).await;
    let before = Timestamp(i64::MAX);
    assert_eq!(
        store.old_deliveries(before).await.unwrap().0,
        u64::from(Webhook::MOST_ENDED)
    );
    assert_eq!(store.forget_old_deliveries(before).await.unwrap(), 1000);
    is(1).await;
}

#[tokio::test]
async fn one_message_of_each_webhook_is_due_at_a_time() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let first = webhook(store, &[EventType::JobFailed]).await;
    let second = webhook(store, &[EventType::JobFailed]).await;
    assert_eq!(store.next_delivery(&[]).await.unwrap(), None);
    announce_many(store, 3).await;
    let now = Timestamp::now();
    let due = store.due_deliveries(now, &[], 8).await.unwrap();
    assert_eq!(
        due.iter().map(|due| due.webhook).collect::<Vec<_>>(),
        [first, second]
    );
    assert!(due[0].payload.contains("\"number\":0"), "the oldest first");
    assert_eq!(store.due_deliveries(now, &[first], 8).await.unwrap().len(), 1);
    assert_eq!(store.due_deliveries(now, &[], 1).await.unwrap().len(), 1);
    assert!(
        store
            .due_deliveries(Timestamp(now.0 - 60_000), &[], 8)
            .await
            .unwrap()
            .is_empty()
    );
    let again = Timestamp(now.0 + 5000);
    store
        .note_attempt(due[0].id, first, vec![failed()], Next::Again(again))
        .await
        .unwrap();
    let due = store.due_deliveries(now, &[second], 8).await.unwrap();
    assert!(due[0].payload.contains("\"number\":1"), "{due:?}");
    store
        .note_attempt(due[0].id, first, vec![failed()], Next::GivenUp)
        .await
        .unwrap();
    assert_eq!(log(store, first).await[1].status, DeliveryStatus::Failed);
    assert!(store.next_delivery(&[second]).await.unwrap().unwrap() <= now);
}

#[tokio::test]
async fn a_webhook_that_has_failed_for_days_is_switched_off() {
    let stand = Stand::new().await;
    let store = &stand.store;
    let id = webhook(store, &[EventType::JobFailed]).await;
    announce_many(store, 4).await;
    let attempt = async |next| {
        let due = store
            .due_deliveries(Timestamp::now(), &[], 1)
            .await
            .unwrap()
            .remove(0);
        store
            .note_attempt(due.id, id, vec![failed()], next)
            .await
            .unwrap();
        store.webhook(&id.to_string()).await.unwrap()
    };
    let shown = attempt(Next::GivenUp).await;
    assert!(shown.enabled && shown.failing_since.is_some());
    // A success ends that.
    assert_eq!(attempt(Next::Delivered).await.failing_since, None);
    attempt(Next::GivenUp).await;
    let long_ago = Timestamp::now().0 - Webhook::FAILING_MILLISECONDS - 1;
    store
        .write(move |connection| {
            Box::pin(async move {
                sqlx::query("update webhooks set failing_since = $1")
                    .bind(long_ago)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    announce_many(store, 1).await;
    let shown = attempt(Next::GivenUp).await;
    assert_eq!(
        (shown.enabled, shown.disabled_reason, shown.pending),
        (false, Some(DisabledReason::Failing), 0)
    );
    announce_many(store, 1).await;
    assert_eq!(log(store, id).await.len(), 5, "it is told nothing more");
}
