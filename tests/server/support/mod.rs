//! What the tests stand on: a real server on a port of its own, a client that holds every answer to the API's description, pictures.

pub mod api;
pub mod certificate;
pub mod document;
pub mod http2;
pub mod hub;
pub mod mlflow;
pub mod openmetrics;
pub mod patience;
pub mod pictures;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod receiver;
pub mod server;
pub mod shared;
pub mod shell;
pub mod stream;
pub mod tls;

pub use self::{
    api::{Answer, Api},
    server::Server,
};
