//! `POST /v1/datasets/{dataset}/split`: divides a dataset for good, so that every job trains and measures on the same images.

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
            precondition::{target, version_tag},
            schemas,
        },
        responses::problem::Problems,
    },
};

/// Divide a dataset
///
/// Every image gets its part anew: class by class in these shares, by the seed, images with the same bytes or of one group on one side.
/// Makes the next version; its `splits`, and those of its classes, are the exact counts. `{}` divides as a job with defaults would.
#[utoipa::path(
    post, path = "/v1/datasets/{dataset}/split", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"),
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    request_body = SplitSpec,
    responses(
        (status = 201, description = "There is a new version", body = Dataset, headers(("location" = String), ("etag" = String))),
        (status = 200, description = "It is divided so already", body = Dataset, headers(("etag" = String))),
        Problems
    )
)]
pub async fn split(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response> {
    let wrong = |faults| Error::fields("the split is wrong", faults);
    let nulls = schemas::nulls_in_split(&body.value)?;
    let spec = spec::parse_split(&body.value).map_err(wrong)?;
    if !nulls.is_empty() {
        return Err(wrong(nulls));
    }
    let dataset = app.store().dataset(&reference).await?;
    let target = target(&dataset, &reference, &headers)?;
    app.check_disk(0)?;
    let (dataset, changed) = app.jobs().divide(target, spec).await?;
    let tag = [(header::ETAG, version_tag(dataset.version))];
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
