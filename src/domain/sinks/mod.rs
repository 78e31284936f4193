//! Whom the server tells how jobs and datasets ended, without being asked: webhooks. (What MLflow is told has no rules of its own.)

mod delivery;
mod event;
mod webhook;

pub use self::{
    delivery::{Attempt, Delivery, DeliveryStatus, Next, next},
    event::{DatasetEnded, EventType, JobEnded, payload},
    webhook::{DisabledReason, NewWebhook, Webhook, WebhookEdit},
};
