//! Webhooks and what they are to be told: rows of endpoints, and the outbox.

pub mod deliveries;
pub mod outbox;
pub mod webhooks;
