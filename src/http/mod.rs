//! The network side: the only place with axum. One file per resource; `problem.rs` turns errors into answers, `routes.rs` is the table.

mod admission;
mod aliases;
mod architectures;
mod blob_file;
mod connections;
mod curves;
mod dataset_archive;
mod dataset_split;
mod datasets;
mod digests;
mod documentation;
mod download;
mod embeddings;
mod events;
mod explain;
mod extract;
mod guard;
mod health;
mod images;
mod images_add;
mod images_edit;
mod job_predictions;
mod jobs;
mod json;
mod lineage;
mod lingering;
mod model_edit;
mod model_export;
mod model_import;
mod model_upload;
mod models;
mod nulls;
mod oip;
mod one_image;
mod pages;
mod pictures;
mod precondition;
mod predict;
mod preview;
mod problem;
mod range;
mod refusals;
mod results;
mod routes;
mod run;
mod serve;
mod spooling;
mod submission;
mod system;
mod torchserve;
mod tus;
mod upload;
mod uploads;
mod versions;
mod waiting;
mod whole;
mod zip_stream;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::connections::Places;
pub use self::{
    documentation::openapi,
    run::{run, run_telling},
};
use crate::{
    blobs::Blobs, config::Config, inference::Inference, jobs::Jobs, limits::Limits, store::Store,
    uploads::Uploads,
};

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

struct Parts {
    config: Config,
    store: Store,
    blobs: Blobs,
    jobs: Jobs,
    inference: Inference,
    uploads: Uploads,
    /// Uploads of any kind that bring bytes now.
    receiving: Places,
    /// Fires when the server begins to stop: nothing new is accepted, and what waits stops waiting.
    stopping: CancellationToken,
    event_streams: Places,
    /// Places for downloads of datasets and models.
    downloads: Places,
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

    fn receiving(&self) -> &Places {
        &self.0.receiving
    }

    fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    fn downloads(&self) -> &Places {
        &self.0.downloads
    }

    fn event_streams(&self) -> &Places {
        &self.0.event_streams
    }
}
