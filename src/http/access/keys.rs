//! `/v1/keys`: makes, lists and revokes keys.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::{
        access::{Key, NewKey, Quotas, Scope, Secret},
        name::Name,
        page::Page,
        time::Timestamp,
    },
    error::{Error, Result},
    http::{
        App,
        requests::{
            extract::{JsonBody, PageQuery, Query},
            precondition,
        },
        responses::problem::Problems,
    },
};

/// A key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct KeyRequest {
    /// Whose key it is. No other key that is not revoked may have this name.
    #[schema(example = "camera-7")]
    name: Name,
    /// At least one. `write` includes `read` and `predict`; `admin` includes all others.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
    /// Names of the only datasets that it may use; by default all. Not with `admin`.
    #[schema(max_items = 100)]
    datasets: Option<Vec<Name>>,
    /// Names of the only models and aliases that it may use; by default all. Not with `admin`.
    #[schema(max_items = 100)]
    models: Option<Vec<Name>>,
    /// How much of the server it may take up; by default as much as there is.
    quotas: Option<Quotas>,
    /// From then on it is refused; by default never.
    expires_at: Option<Timestamp>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub struct MadeKey {
    #[serde(flatten)]
    key: Key,
    /// The key itself, to be sent as `Authorization: Bearer ft_…`. It is shown this once.
    #[schema(example = "ft_…")]
    secret: String,
}

/// Make a key
///
/// Needs the scope `admin`. The response has the key itself, which cannot be shown again. From the first key on, every request needs one.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", request_body = KeyRequest,
    responses((status = 201, body = MadeKey, headers(("location" = String))), Problems)
)]
pub async fn create(State(app): State<App>, body: JsonBody) -> Result<Response> {
    let new = NewKey::parse(&body.value, Timestamp::now())
        .map_err(|faults| Error::fields("the key is invalid", faults))?;
    let secret = Secret::draw().map_err(Error::internal)?;
    let most = app.limits().max_keys;
    let key = app.store().create_key(new, secret.digest(), most).await?;
    // It counts when the caller knows it.
    app.keyring().refresh().await?;
    let location = [(header::LOCATION, format!("/v1/keys/{}", key.id))];
    let made = MadeKey {
        key,
        secret: secret.reveal().to_owned(),
    };
    Ok((StatusCode::CREATED, location, Json(made)).into_response())
}

/// List keys
///
/// Also those that expired or were revoked; the keys themselves are not kept.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", params(PageQuery), responses((status = 200, body = Page<Key>), Problems))]
pub async fn list(State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<Key>>> {
    let mut keys = app.store().keys(&page.check()).await?;
    keys.data = keys.data.into_iter().map(|key| shown(&app, key)).collect();
    Ok(Json(keys))
}

/// Get a key
///
/// Its `ETag` changes with everything that is shown, also with its last use.
#[utoipa::path(
    get, path = "/v1/keys/{key}", tag = "keys",
    params(
        ("key" = String, Path, description = "Id or name"),
        ("if-none-match" = Option<String>, Header, description = "304 if this is its ETag")
    ),
    responses(
        (status = 200, body = Key, headers(("etag" = String))),
        (status = 304, description = "It is as the client has it", headers(("etag" = String))),
        Problems
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let key = shown(&app, app.store().key(&reference).await?);
    precondition::shown(&headers, None, &key)
}

/// Revoke a key
///
/// It is refused from then on, and its sessions and event streams end. It stays in the list.
#[utoipa::path(
    delete, path = "/v1/keys/{key}", tag = "keys",
    params(
        ("key" = String, Path, description = "Id or name"),
        ("if-match" = Option<String>, Header, description = "Only if this is its ETag")
    ),
    responses((status = 204), Problems)
)]
pub async fn revoke(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let key = app.store().key(&reference).await?;
    let seen = precondition::seen(&headers, &shown(&app, key.clone()), &key)?;
    app.store().revoke_key(&key.id.to_string(), seen).await?;
    app.keyring().refresh().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// With the last use, which is written once a minute.
fn shown(app: &App, mut key: Key) -> Key {
    if let Some(held) = app.keyring().of_id(key.id) {
        key.last_used_at = held.last_used_at();
    }
    key
}
