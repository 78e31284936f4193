//! Tells others how jobs and datasets ended: delivers what `store/sinks` has written down.
//!
//! `queue` takes what is due and records what came of it, `sender` makes one attempt, `resolver` and `addresses` keep it from where it must not
//! go, `server_key` is what secrets are made of.

mod addresses;
mod queue;
mod resolver;
mod sender;
mod server_key;
mod webhooks;

pub use self::{queue::run, webhooks::Webhooks};
