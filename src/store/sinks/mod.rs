//! Webhooks and what they are to be told: rows of endpoints, and the outbox. And what MLflow is to be told.

pub mod deliveries;
pub mod mlflow;
pub mod outbox;
pub mod webhooks;
