//! `/v1/jobs/{job}/tensorboard`: the curves of a job as an event file of TensorBoard, from the same rows as its event stream.
//!
//! Rows are read page by page while the file is sent. A rewind takes back what was reported about later steps: those rows are left out, so
//! that a reader has to know nothing of rewinds.

use std::collections::VecDeque;

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;

use crate::{
    domain::{
        id::JobId,
        jobs::{event::Event, scalars::scalars},
    },
    error::Result,
    http::{
        App,
        connections::{Caller, Permit},
        responses::{event_file, problem::Problems},
    },
    store::{CurveOutline, Store},
};

/// Rows per page.
const PAGE: u32 = 1000;

/// Get a job's curves for TensorBoard
///
/// An event file with the scalars `train/loss`, `lr` and `images_per_second` of every step event, and `train/epoch_loss`, `train/accuracy`,
/// `val/loss` and `val/accuracy` of every epoch, as far as the job has them; their steps are those of the optimiser. Of a running job it has
/// what there is so far. Where no step events are left, `train/loss` and `lr` are those of the epochs.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/tensorboard", tag = "jobs",
    params(("job" = String, Path, description = "Id, or the name of the newest")),
    responses(
        (status = 200, description = "The event file", body = [u8], content_type = "application/octet-stream",
            headers(("content-disposition" = String))),
        Problems
    )
)]
pub async fn tensorboard(
    State(app): State<App>,
    Path(reference): Path<String>,
    caller: Caller,
) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    let permit = app.download_permit(caller)?;
    let began = job.created_at.0 as f64 / 1000.0;
    let name = format!(
        "events.out.tfevents.{:010}.{}",
        job.created_at.0.max(0) / 1000,
        job.id
    );
    let rows = Rows {
        outline: app.store().curve_outline(job.id).await?,
        store: app.store().clone(),
        job: job.id,
        seen: 0,
        ready: VecDeque::from([event_file::beginning(began).into()]),
        _permit: permit,
    };
    let about = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        // An id needs no escaping.
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    let body = Body::from_stream(stream::try_unfold(rows, Rows::next));
    Ok((about, body).into_response())
}

/// What is still to be sent.
struct Rows {
    store: Store,
    job: JobId,
    outline: CurveOutline,
    /// `seq` of the last row that was read.
    seen: i64,
    ready: VecDeque<Bytes>,
    _permit: Permit,
}

impl Rows {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some((bytes, self)));
            }
            let page = self.store.curve_events(self.job, self.seen, PAGE).await?;
            // What comes after the beginning of the download may take back what was sent.
            let is_known = |event: &&Event| event.seq <= self.outline.last;
            let Some(last) = page.iter().rfind(is_known) else {
                return Ok(None);
            };
            self.seen = last.seq;
            let records: Vec<u8> = page
                .iter()
                .filter(is_known)
                .flat_map(|event| self.record(event))
                .collect();
            if !records.is_empty() {
                self.ready.push_back(records.into());
            }
        }
    }

    /// Nothing of a row that was taken back or has no values.
    fn record(&self, event: &Event) -> Vec<u8> {
        let step = event.data["step"].as_u64().unwrap_or(0);
        if self.outline.takes_back(event.seq, step) {
            return Vec::new();
        }
        let values = scalars(event, self.outline.has_steps);
        match values.is_empty() {
            true => Vec::new(),
            false => event_file::scalars(event.created_at.0 as f64 / 1000.0, step, &values),
        }
    }
}
