//! A message to a webhook: the attempts to deliver it, and when the next one is due.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::EventType;
use crate::domain::{
    id::{DeliveryId, WebhookId},
    time::Timestamp,
};

/// Seconds between one attempt and the next: about a day in all, of the schedule that Standard Webhooks recommends.
const WAITS: [u64; 7] = [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 8 * 3600, 10 * 3600];
/// How far a wait is shortened or lengthened by chance, so that many messages do not come back at the same moment.
const JITTER: f64 = 0.2;
/// Longest wait that a target may ask for by `Retry-After`.
const LONGEST_WAIT: u64 = 10 * 3600;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// To be tried, or tried again.
    Pending,
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryStatus::Pending => "pending",
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Failed => "failed",
        }
    }
}

/// One attempt to deliver a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    pub at: Timestamp,
    /// Time until the answer, or until it was given up.
    pub milliseconds: u64,
    /// Of the answer; null without one.
    pub status: Option<u16>,
    /// Why it was no success; null if it was.
    pub error: Option<String>,
}

/// A message to a webhook.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Delivery {
    /// As in the header `webhook-id`: the same at every attempt.
    pub id: DeliveryId,
    /// Always `webhook_delivery`.
    #[schema(example = "webhook_delivery")]
    pub object: String,
    pub webhook: WebhookId,
    pub event: EventType,
    pub status: DeliveryStatus,
    pub created_at: Timestamp,
    /// When it is tried next; null if it is not.
    pub next_attempt_at: Option<Timestamp>,
    /// So far, oldest first.
    pub attempts: Vec<Attempt>,
    /// Why it was given up, where that was not the last attempt: the webhook is off, or too many messages waited.
    pub error: Option<String>,
    /// What is sent.
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// It is tried again then.
    Again(Timestamp),
    GivenUp,
    /// It is given up, and so is the webhook.
    Gone,
}

/// What follows the last of a message's attempts, of which there were so many. `retry_after`: seconds that the target asked for. `chance`: 0
/// to 1.
pub fn next(attempts: usize, last: &Attempt, now: Timestamp, retry_after: Option<u64>, chance: f64) -> Next {
    if last.error.is_none() {
        return Next::Delivered;
    }
    if last.status == Some(410) {
        return Next::Gone;
    }
    let Some(wait) = attempts.checked_sub(1).and_then(|done| WAITS.get(done)) else {
        return Next::GivenUp;
    };
    let factor = 1.0 + JITTER * (2.0 * chance - 1.0);
    let wait = (*wait as f64 * factor * 1000.0) as i64;
    let asked = retry_after.unwrap_or(0).min(LONGEST_WAIT) as i64 * 1000;
    Next::Again(Timestamp(now.0 + wait.max(asked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_764_000_000_000);

    fn attempt(status: Option<u16>, is_success: bool) -> Attempt {
        Attempt {
            at: NOW,
            milliseconds: 12,
            status,
            error: (!is_success).then(|| "it failed".to_owned()),
        }
    }

    #[test]
    fn attempts_go_on_for_about_a_day_and_then_no_more() {
        let failed = attempt(Some(500), false);
        let mut at = NOW;
        let mut attempts = 1;
        while let Next::Again(next_at) = next(attempts, &failed, at, None, 0.5) {
            assert!(next_at > at);
            at = next_at;
            attempts += 1;
        }
        assert_eq!(attempts, 8);
        let hours = (at.0 - NOW.0) as f64 / 3_600_000.0;
        assert!((24.0..28.0).contains(&hours), "{hours}");
        assert_eq!(next(8, &failed, NOW, None, 0.5), Next::GivenUp);
    }

    #[test]
    fn the_wait_varies_by_a_fifth_and_the_target_may_ask_for_more() {
        let failed = attempt(Some(503), false);
        let wait = |retry_after, chance| match next(1, &failed, NOW, retry_after, chance) {
            Next::Again(at) => at.0 - NOW.0,
            other => panic!("{other:?}"),
        };
        assert_eq!((wait(None, 0.0), wait(None, 1.0)), (4000, 6000));
        assert_eq!(wait(Some(1), 0.5), 5000);
        assert_eq!(wait(Some(60), 0.5), 60_000);
        assert_eq!(wait(Some(u64::MAX), 0.5), 36_000_000);
    }

    #[test]
    fn a_success_ends_it_and_so_does_a_target_that_is_gone() {
        assert_eq!(
            next(1, &attempt(Some(204), true), NOW, None, 0.5),
            Next::Delivered
        );
        assert_eq!(next(1, &attempt(Some(410), false), NOW, None, 0.5), Next::Gone);
        assert!(matches!(
            next(1, &attempt(None, false), NOW, None, 0.5),
            Next::Again(_)
        ));
    }
}
