//! `/v1/datasets/{dataset}/images/{image}`: view, change or remove an image.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::images_edit::{ImageChange, parse_change};
use crate::{
    domain::datasets::dataset::Dataset,
    error::{Error, Result},
    http::{
        App,
        requests::{
            extract::{JsonBody, Query},
            precondition::{etag, is_known, target},
            whole::{Natural, Whole},
        },
        responses::problem::Problems,
    },
    manifest::revision::ImageEdit,
};

/// Sizes of a thumbnail, in pixels: a smaller one would show nothing, and the pixel pack has no more than the larger.
type Side = Whole<16, 256>;
const DEFAULT_SIDE: u32 = 160;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ThumbnailQuery {
    /// Size of the longer side, in pixels.
    #[param(value_type = Option<u32>, minimum = 16, maximum = 256, default = 160)]
    size: Option<Side>,
    /// The newest version by default.
    #[param(value_type = Option<u32>)]
    version: Option<Natural>,
}

/// Get a thumbnail
///
/// A JPEG encoded from the image's pixels, never the uploaded file. An image never changes, and neither does its thumbnail.
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}/images/{image}", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"), ("image" = u32, Path), ThumbnailQuery,
        ("if-none-match" = Option<String>, Header)
    ),
    responses(
        (status = 200, description = "The thumbnail", body = [u8], content_type = "image/jpeg", headers(("etag" = String))),
        (status = 304, description = "Not modified"),
        Problems
    )
)]
pub async fn thumbnail(
    State(app): State<App>,
    Path((reference, image)): Path<(String, String)>,
    Query(query): Query<ThumbnailQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let side = query.size.map_or(DEFAULT_SIDE, Whole::get);
    let version = query.version.map(Whole::get);
    let (dataset, files, image) = app.image(&reference, version, &image).await?;
    let tag = format!("\"{}-{side}\"", &image.sha256);
    let about = [
        (header::ETAG, tag.clone()),
        (
            header::CACHE_CONTROL,
            "private, max-age=31536000, immutable".to_owned(),
        ),
    ];
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let segment = files
        .segments
        .into_iter()
        .find(|segment| segment.files.number == image.segment);
    let segment =
        segment.ok_or_else(|| Error::internal(anyhow::anyhow!("image {} has no segment", image.id)))?;
    let jpeg = app.jobs().thumbnail(dataset.id, segment, image.id, side).await?;
    let kind = [
        (header::CONTENT_TYPE, "image/jpeg"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((about, kind, Bytes::from(jpeg)).into_response())
}

/// Change an image
///
/// Creates the next version of the dataset. A class that does not exist yet is created; a class without images is removed. To change many
/// images in one version, use `PATCH /v1/datasets/{dataset}/images`.
#[utoipa::path(
    patch, path = "/v1/datasets/{dataset}/images/{image}", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"), ("image" = u32, Path),
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    request_body = ImageChange,
    responses((status = 200, body = Dataset, headers(("etag" = String))), Problems)
)]
pub async fn relabel(
    State(app): State<App>,
    Path((reference, image)): Path<(String, String)>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response> {
    let edit = parse_change(&body.value)?;
    let dataset = edit_one(&app, &reference, &image, &headers, edit).await?;
    Ok((etag(&dataset), Json(dataset)).into_response())
}

/// Remove an image
///
/// Creates the next version of the dataset; earlier versions keep the image.
#[utoipa::path(
    delete, path = "/v1/datasets/{dataset}/images/{image}", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"), ("image" = u32, Path),
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    responses((status = 204, headers(("etag" = String, description = "Of the version without it"))), Problems)
)]
pub async fn remove(
    State(app): State<App>,
    Path((reference, image)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    let dataset = edit_one(&app, &reference, &image, &headers, ImageEdit::Remove).await?;
    Ok((StatusCode::NO_CONTENT, etag(&dataset)).into_response())
}

async fn edit_one(
    app: &App,
    reference: &str,
    image: &str,
    headers: &HeaderMap,
    edit: ImageEdit,
) -> Result<Dataset> {
    let (dataset, _, found) = app.image(reference, None, image).await?;
    let target = target(&dataset, reference, headers)?;
    app.check_disk(0)?;
    app.jobs().edit_images(target, vec![(found.id, edit)]).await
}
