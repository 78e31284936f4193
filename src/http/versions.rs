//! `/v1/datasets/{dataset}/versions`: what a dataset was, from the beginning.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};

use super::{
    App,
    extract::{PageQuery, Query},
    precondition::version_tag,
    problem::Problems,
};
use crate::{
    domain::{page::Page, version::Version},
    error::{Error, Result},
};

/// List the versions of a dataset
///
/// A page goes on after a version's number.
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}/versions", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), PageQuery),
    responses((status = 200, body = Page<Version>), Problems)
)]
pub async fn list(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Version>>> {
    let dataset = app.store().dataset(&reference).await?;
    Ok(Json(app.store().versions(dataset.id, &page.check()?).await?))
}

/// A version of a dataset
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}/versions/{version}", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = u32, Path)),
    responses((status = 200, body = Version, headers(("etag" = String))), Problems)
)]
pub async fn get(
    State(app): State<App>,
    Path((reference, version)): Path<(String, String)>,
) -> Result<Response> {
    let dataset = app.store().dataset(&reference).await?;
    let found = match version.parse() {
        Ok(number) => app.store().version(dataset.id, number).await?,
        Err(_) => None,
    };
    let found = found.ok_or_else(|| Error::not_found("dataset version", &version))?;
    let tag = [(axum::http::header::ETAG, version_tag(found.version))];
    Ok((tag, Json(found)).into_response())
}
