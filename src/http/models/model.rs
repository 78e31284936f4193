//! `/v1/models`: get and delete models. `model_edit.rs` changes them, `model_import.rs` imports them.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::{
        models::model::Model,
        page::{Order, Page},
    },
    error::Result,
    http::{
        App,
        requests::{
            extract::{PageLimit, PageQuery, Query},
            precondition,
        },
        responses::problem::Problems,
    },
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ModelsQuery {
    /// 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<PageLimit>,
    /// Id of the last model of the previous page.
    after: Option<String>,
    /// `desc` (newest first) or `asc`.
    #[param(inline)]
    order: Option<Order>,
    /// Only versions of this name.
    name: Option<String>,
    /// Only those of a key, by its name or id; `none`: those that were made without one.
    owner: Option<String>,
}

/// List models
#[utoipa::path(get, path = "/v1/models", tag = "models", params(ModelsQuery), responses((status = 200, body = Page<Model>), Problems))]
pub async fn list(State(app): State<App>, Query(query): Query<ModelsQuery>) -> Result<Json<Page<Model>>> {
    let page = PageQuery {
        limit: query.limit,
        after: query.after,
        order: query.order,
    }
    .check();
    let (name, owner) = (query.name.as_deref(), query.owner.as_deref());
    Ok(Json(app.store().models(name, owner, &page).await?))
}

/// Get a model
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "models",
    params(
        ("model" = String, Path, description = "Id, alias, name (the newest) or name@version"),
        ("if-none-match" = Option<String>, Header, description = "304 if this is its ETag")
    ),
    responses(
        (status = 200, body = Model, headers(("etag" = String))),
        (status = 304, description = "It is as the client has it", headers(("etag" = String))),
        Problems
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let model = app.store().model(&reference).await?;
    precondition::shown(&headers, None, &model)
}

/// Delete a model
///
/// 409 `model-in-use` if an alias points to it.
#[utoipa::path(
    delete, path = "/v1/models/{model}", tag = "models",
    params(
        ("model" = String, Path, description = "Id, alias, name (the newest) or name@version"),
        ("if-match" = Option<String>, Header, description = "Only if this is its ETag")
    ),
    responses((status = 204), Problems)
)]
pub async fn delete(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let model = app.store().model(&reference).await?;
    let seen = precondition::seen(&headers, &model, &model)?;
    app.store().delete_model(model.id, seen).await?;
    app.jobs().sweep_soon();
    Ok(StatusCode::NO_CONTENT)
}
