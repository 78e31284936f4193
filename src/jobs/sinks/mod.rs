//! Tells others how jobs and datasets ended: delivers what `store/sinks` has written down.
//!
//! `queue` takes what is due and records what came of it, `sender` makes one attempt, `resolver` and `addresses` keep it from where it must not
//! go, `server_key` is what secrets are made of. `mlflow` logs jobs as runs.

mod addresses;
mod mlflow;
mod queue;
mod resolver;
mod sender;
mod server_key;
mod webhooks;

pub use self::{mlflow::run as log_to_mlflow, queue::run as tell_webhooks, webhooks::Webhooks};
