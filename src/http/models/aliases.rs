//! `/v1/aliases`: named pointers to models that can be moved while requests use them.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{
        models::alias::{self, Alias},
        name::Name,
        page::Page,
    },
    error::{Error, FieldError, Kind, Result},
    http::{
        App,
        requests::{
            extract::{JsonBody, PageLimit, PageQuery, Query},
            precondition::{self, expected_versions, version_etag},
        },
        responses::problem::Problems,
    },
    store::{AliasBounds, AliasSet, Presumed},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AliasesQuery {
    /// 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<PageLimit>,
    /// Name of the last alias of the previous page.
    after: Option<String>,
}

/// The model that an alias points to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct AliasTarget {
    /// Id, name (the newest), `name@version`, or another alias, which is resolved to its current model.
    #[schema(example = "insects@2")]
    model: String,
}

/// List aliases
///
/// Sorted by name.
#[utoipa::path(get, path = "/v1/aliases", tag = "models", params(AliasesQuery), responses((status = 200, body = Page<Alias>), Problems))]
pub async fn list(State(app): State<App>, Query(query): Query<AliasesQuery>) -> Result<Json<Page<Alias>>> {
    let page = PageQuery {
        limit: query.limit,
        after: query.after,
        order: None,
    }
    .check();
    Ok(Json(
        app.store().aliases(page.after.as_deref(), page.limit).await?,
    ))
}

/// Get an alias
///
/// With its current model and its history. The `ETag` identifies its revision.
#[utoipa::path(
    get, path = "/v1/aliases/{alias}", tag = "models",
    params(
        ("alias" = String, Path, description = "Name of the alias"),
        ("if-none-match" = Option<String>, Header, description = "304 if this is its ETag")
    ),
    responses(
        (status = 200, body = Alias, headers(("etag" = String))),
        (status = 304, description = "It is as the client has it", headers(("etag" = String))),
        Problems
    )
)]
pub async fn get(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Result<Response> {
    let alias = app.store().alias(&name).await?;
    precondition::shown(&headers, Some(alias.revision), &alias)
}

/// Create or move an alias
///
/// Creates the alias, or moves it to the model (a promotion). The model is loaded and tried first, so later requests do not wait for that;
/// if it cannot be loaded, the alias is unchanged. The move is atomic: requests that started before it are answered by the previous model,
/// later ones by the new model. With `If-Match` and an `ETag`, the alias is moved only if it has not changed since; with `If-None-Match: *`
/// it is only created.
#[utoipa::path(
    put, path = "/v1/aliases/{alias}", tag = "models",
    params(
        ("alias" = String, Path, description = "1 to 128 letters, digits, `.`, `_`, `-`; not the name of a model"),
        ("if-match" = Option<String>, Header, description = "Only if this is the alias's ETag"),
        ("if-none-match" = Option<String>, Header, pattern = "^[*]$", description = "`*`: only if the alias does not exist")
    ),
    request_body = AliasTarget,
    responses(
        (status = 201, body = Alias, headers(("location" = String), ("etag" = String))),
        (status = 200, description = "The alias was moved, or already pointed to this model", body = Alias, headers(("etag" = String))),
        Problems
    )
)]
pub async fn put(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response> {
    let name = parse_name(&name)?;
    let reference = parse_target(&body.value)?;
    let presumed = presumed(&app, &name, &headers).await?;
    let model = match app.store().model(reference).await {
        Err(error) if error.kind() == Kind::NotFound => {
            let message = "no model has this id, name or alias; list models with GET /v1/models";
            return Err(wrong(FieldError::new("/model", "not_found", message)));
        }
        model => model?,
    };
    app.inference().warm_up(&model).await?;
    let bounds = AliasBounds {
        aliases: app.limits().max_aliases,
        history: app.limits().max_alias_history,
    };
    let set = app
        .store()
        .set_alias(name.clone(), model.id, presumed, bounds)
        .await?;
    let alias = app.store().alias(name.as_str()).await?;
    Ok(match set {
        AliasSet::Created => {
            let location = [(header::LOCATION, format!("/v1/aliases/{name}"))];
            (StatusCode::CREATED, location, etag(&alias), Json(alias)).into_response()
        }
        AliasSet::Moved | AliasSet::Unchanged => (etag(&alias), Json(alias)).into_response(),
    })
}

/// Roll an alias back
///
/// Moves the alias to the latest model in its history that differs from its current one. That entry and later ones are removed from the
/// history, so further rollbacks go further back. The current model is not kept in the history: to use it again, set it with PUT. Deleted
/// models are skipped. As in a promotion, the model is loaded and tried first. 409 `no-former-model` if there is none.
#[utoipa::path(
    post, path = "/v1/aliases/{alias}/rollback", tag = "models",
    params(
        ("alias" = String, Path, description = "Name of the alias"),
        ("if-match" = Option<String>, Header, description = "Only if this is the alias's ETag")
    ),
    responses((status = 200, body = Alias, headers(("etag" = String))), Problems)
)]
pub async fn roll_back(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let seen = app.store().alias(&name).await?;
    if let Some(revisions) = expected_versions(&headers, seen.revision)?
        && !revisions.contains(&seen.revision)
    {
        let detail = format!(
            "the alias is at revision {}; check which model it points to now",
            seen.revision
        );
        return Err(Error::new(Kind::Precondition, "alias-changed", detail));
    }
    let Some(former) = seen.previous() else {
        let detail = "the alias has no previous model that still exists; set one with PUT";
        return Err(Error::new(Kind::Conflict, "no-former-model", detail));
    };
    let model = app.store().model(&former.model.to_string()).await?;
    app.inference().warm_up(&model).await?;
    let rolled = app
        .store()
        .roll_back_alias(seen.name.clone(), seen.revision, former.clone());
    rolled.await?;
    let alias = app.store().alias(&name).await?;
    Ok((etag(&alias), Json(alias)).into_response())
}

/// Delete an alias
///
/// Deletes its history as well; models are kept.
#[utoipa::path(
    delete, path = "/v1/aliases/{alias}", tag = "models",
    params(
        ("alias" = String, Path, description = "Name of the alias"),
        ("if-match" = Option<String>, Header, description = "Only if this is the alias's ETag")
    ),
    responses((status = 204), Problems)
)]
pub async fn delete(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let alias = Name::parse(&name).map_err(|_| Error::not_found("alias", &name))?;
    let presumed = presumed(&app, &alias, &headers).await?;
    app.store().delete_alias(alias, presumed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The `ETag` of an alias, which begins with its revision.
fn etag(alias: &Alias) -> [(HeaderName, String); 1] {
    version_etag(alias.revision, alias)
}

/// The preconditions in the headers. The only supported use of `If-None-Match` is to create.
async fn presumed(app: &App, alias: &Name, headers: &HeaderMap) -> Result<Presumed> {
    let is_new = match headers.get(header::IF_NONE_MATCH).map(|value| value.as_bytes()) {
        None => false,
        Some(b"*") => true,
        Some(_) => {
            let detail = "If-None-Match is only supported as `*`: create the alias if it does not exist";
            return Err(Error::new(Kind::Malformed, "if-none-match-invalid", detail));
        }
    };
    if headers.contains_key(header::IF_MATCH) {
        let revision = match app.store().alias(alias.as_str()).await {
            Ok(alias) => alias.revision,
            Err(error) if error.kind() == Kind::NotFound => 0,
            Err(error) => return Err(error),
        };
        return Ok(Presumed::At(expected_versions(headers, revision)?));
    }
    Ok(match is_new {
        true => Presumed::Absent,
        false => Presumed::Nothing,
    })
}

fn parse_name(text: &str) -> Result<Name> {
    alias::parse_name(text).map_err(|rule| wrong(FieldError::new("/alias", "range", rule)))
}

fn parse_target(body: &Value) -> Result<&str> {
    let unknown = body
        .as_object()
        .and_then(|fields| fields.keys().find(|name| *name != "model"));
    if let Some(name) = unknown {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        return Err(wrong(FieldError::new(
            pointer,
            "unknown_field",
            "unknown field; `model` is the only one",
        )));
    }
    match body.get("model").map(Value::as_str) {
        Some(Some(reference)) => Ok(reference),
        Some(None) => Err(wrong(FieldError::new("/model", "type", "must be a string"))),
        None => Err(wrong(FieldError::new(
            "/model",
            "missing",
            "set the model: `{\"model\": \"insects\"}`",
        ))),
    }
}

fn wrong(fault: FieldError) -> Error {
    Error::fields("the alias is invalid", vec![fault])
}
