//! Connections from their beginning to their end: they are accepted, shake hands for TLS, and are served over HTTP/1.1 or HTTP/2; and the
//! separate ones of health checks.

pub mod health;
mod serve;
mod speaking;
mod tls;

pub use self::{serve::serve, tls::Tls};
