//! HTTP as such: connections, what is read from them, and how errors are told.

mod audit;
mod conditions;
mod connections;
pub mod encodings;
mod errors;
mod framing;
mod http2;
mod keys;
mod metrics;
mod owners;
mod proxies;
mod quotas;
mod repeats;
mod sessions;
mod tls;
mod webhooks;
