//! What only the running server knows of a dataset.

use crate::{
    domain::datasets::dataset::{Dataset, DatasetStatus},
    http::App,
};

/// A dataset with what its ingest is currently waiting for, which only the running server knows.
pub fn shown(app: &App, mut dataset: Dataset) -> Dataset {
    if dataset.status == DatasetStatus::Processing {
        dataset.waiting = app.jobs().reading_waits_for(&dataset.id);
    }
    dataset
}
