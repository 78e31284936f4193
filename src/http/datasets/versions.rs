//! `/v1/datasets/{dataset}/versions`: all versions of a dataset.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::{
        datasets::version::Version,
        page::{Order, Page},
    },
    error::{Error, Result},
    http::{
        App,
        requests::{
            extract::{PageLimit, PageQuery, Query},
            precondition,
            whole::Natural,
        },
        responses::problem::Problems,
    },
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VersionsQuery {
    /// 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<PageLimit>,
    /// Number of the last version of the previous page.
    #[param(value_type = Option<u32>)]
    after: Option<Natural>,
    /// `desc` (newest first) or `asc`.
    #[param(inline)]
    order: Option<Order>,
}

/// List the versions of a dataset
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}/versions", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), VersionsQuery),
    responses((status = 200, body = Page<Version>), Problems)
)]
pub async fn list(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<VersionsQuery>,
) -> Result<Json<Page<Version>>> {
    let dataset = app.store().dataset(&reference).await?;
    let page = PageQuery {
        limit: query.limit,
        after: query.after.map(|version| version.get::<u32>().to_string()),
        order: query.order,
    };
    Ok(Json(app.store().versions(dataset.id, &page.check()).await?))
}

/// Get a version of a dataset
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}/versions/{version}", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"), ("version" = u32, Path),
        ("if-none-match" = Option<String>, Header, description = "304 if this is its ETag")
    ),
    responses(
        (status = 200, body = Version, headers(("etag" = String))),
        (status = 304, description = "It is as the client has it", headers(("etag" = String))),
        Problems
    )
)]
pub async fn get(
    State(app): State<App>,
    Path((reference, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    let dataset = app.store().dataset(&reference).await?;
    let found = match version.parse() {
        Ok(number) => app.store().version(dataset.id, number).await?,
        Err(_) => None,
    };
    let found = found.ok_or_else(|| Error::not_found("dataset version", &version))?;
    precondition::shown(&headers, Some(found.version), &found)
}
