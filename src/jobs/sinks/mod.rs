//! Tells others how jobs and datasets ended: delivers what `store/sinks` has written down.
//!
//! `queue` takes what is due and records what came of it, `sender` makes one attempt, `resolver` and `addresses` keep it from where it must not
//! go, `signing` makes secrets and signatures of `server_key`. `mlflow` logs jobs as runs.

mod addresses;
mod mlflow;
mod queue;
mod resolver;
mod sender;
mod server_key;
mod signing;
mod webhooks;

pub use self::{
    mlflow::run as log_to_mlflow, queue::run as tell_webhooks, signing::SigningSecret, webhooks::Webhooks,
};
