//! `POST /v1/datasets/{dataset}/split`: fixes a dataset's splits, so that every job trains and validates on the same images.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    domain::{
        datasets::{dataset::Dataset, split::SplitSpec},
        spec,
    },
    error::{Error, Result},
    http::{
        App,
        requests::{
            extract::JsonBody,
            precondition::{etag, target},
        },
        responses::problem::Problems,
    },
};

/// Split a dataset
///
/// Assigns every image to a split again: per class in the given fractions, by the seed. Images with identical bytes or of one group stay in
/// one split. Creates the next version; its `splits`, and those of its classes, are the exact counts. `{}` splits as a job with defaults
/// would.
#[utoipa::path(
    post, path = "/v1/datasets/{dataset}/split", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"),
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    request_body = SplitSpec,
    responses(
        (status = 201, description = "A new version was created", body = Dataset, headers(("location" = String), ("etag" = String))),
        (status = 200, description = "The dataset already has these splits", body = Dataset, headers(("etag" = String))),
        Problems
    )
)]
pub async fn split(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response> {
    let wrong = |faults| Error::fields("the split is invalid", faults);
    let spec = spec::parse_split(&body.value).map_err(wrong)?;
    let dataset = app.store().dataset(&reference).await?;
    let target = target(&dataset, &reference, &headers)?;
    app.check_disk(0)?;
    let (dataset, changed) = app.jobs().divide(target, spec).await?;
    let tag = etag(&dataset);
    let location = [(
        header::LOCATION,
        format!("/v1/datasets/{}/versions/{}", dataset.id, dataset.version),
    )];
    Ok(if changed {
        (StatusCode::CREATED, tag, location, Json(dataset)).into_response()
    } else {
        (tag, Json(dataset)).into_response()
    })
}
