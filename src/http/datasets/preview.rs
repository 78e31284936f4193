//! `/v1/datasets/{dataset}/preview`: shows what augmentation does to a dataset's images, before a job is submitted.

use axum::{
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};

use crate::{
    domain::{
        datasets::dataset::{Dataset, DatasetStatus},
        spec::PreviewSpec,
    },
    error::{Error, FieldError, Kind, Result},
    http::{
        App,
        requests::{extract::JsonBody, schemas::PreviewRequest},
        responses::problem::Problems,
    },
};

/// Preview augmentation
///
/// A contact sheet with a row for each of some training images of the dataset: first as prediction would see it, then as the first epochs
/// of a job with these fields would. `{}` shows a job with defaults.
#[utoipa::path(
    post, path = "/v1/datasets/{dataset}/preview", tag = "datasets", params(("dataset" = String, Path, description = "Id or name")),
    request_body = PreviewRequest,
    responses((status = 200, description = "The sheet", body = [u8], content_type = "image/png"), Problems)
)]
pub async fn preview(
    State(app): State<App>,
    Path(reference): Path<String>,
    body: JsonBody,
) -> Result<Response> {
    let dataset = app.store().dataset(&reference).await?;
    let wrong = |faults: Vec<FieldError>| {
        let count = faults.len();
        let plural = if count == 1 { "" } else { "s" };
        Error::fields(format!("the preview has {count} invalid field{plural}"), faults)
    };
    let spec = PreviewSpec::parse(&body.value, dataset.name.as_str()).map_err(wrong)?;
    check_ready(&dataset)?;
    app.check_disk(0)?;
    let png = app.jobs().preview(dataset, spec).await?;
    Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response())
}

fn check_ready(dataset: &Dataset) -> Result<()> {
    let detail = match dataset.status {
        DatasetStatus::Ready => return Ok(()),
        DatasetStatus::Processing => "the dataset is still being processed; wait for it with ?wait=60",
        DatasetStatus::Failed => "the dataset has failed; its `error` says why",
    };
    Err(Error::new(Kind::Conflict, "dataset-not-ready", detail))
}
