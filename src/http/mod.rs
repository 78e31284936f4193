//! The HTTP server: the only place with axum. One file per resource; `problem.rs` turns errors into responses, `routes.rs` is the table.

mod access;
mod audit;
mod connections;
mod datasets;
mod documentation;
mod jobs;
mod listening;
mod metrics;
mod models;
mod pages;
mod predictions;
mod repeats;
mod requests;
mod responses;
mod routes;
mod run;
mod system;
mod uploads;
mod webhooks;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::{
    access::{Keyring, Sessions, Tries},
    audit::Journal,
    connections::Permits,
    metrics::Metrics,
};
pub use self::{
    routes::openapi,
    run::{run, run_with_ready},
};
use crate::{
    blobs::Blobs, config::Config, inference::Inference, jobs::Jobs, limits::Limits, store::Store,
    uploads::Uploads,
};

/// State of the handlers. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

struct Parts {
    config: Config,
    store: Store,
    blobs: Blobs,
    jobs: Jobs,
    inference: Inference,
    uploads: Uploads,
    keyring: Keyring,
    sessions: Sessions,
    /// Wrong keys, by address.
    tries: Tries,
    journal: Journal,
    metrics: Metrics,
    /// Uploads of any kind that are being received.
    receiving: Permits,
    /// Fires when the server begins to stop: nothing new is accepted, and waiting requests stop waiting.
    stopping: CancellationToken,
    event_streams: Permits,
    /// Permits for downloads of datasets and models.
    downloads: Permits,
}

impl App {
    fn config(&self) -> &Config {
        &self.0.config
    }

    fn limits(&self) -> &Limits {
        &self.0.config.limits
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    fn inference(&self) -> &Inference {
        &self.0.inference
    }

    fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    fn keyring(&self) -> &Keyring {
        &self.0.keyring
    }

    fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    fn tries(&self) -> &Tries {
        &self.0.tries
    }

    fn journal(&self) -> &Journal {
        &self.0.journal
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn receiving(&self) -> &Permits {
        &self.0.receiving
    }

    fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    fn downloads(&self) -> &Permits {
        &self.0.downloads
    }

    fn event_streams(&self) -> &Permits {
        &self.0.event_streams
    }
}
