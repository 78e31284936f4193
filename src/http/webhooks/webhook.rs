//! `/v1/webhooks`: makes, lists, changes and deletes webhooks.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::schema::{ArrayBuilder, ObjectBuilder, Type},
};

use crate::{
    domain::{
        id::WebhookId,
        page::Page,
        sinks::{EventType, NewWebhook, Webhook, WebhookEdit},
        tag::Tag,
    },
    error::{Error, FieldError, Result},
    http::{
        App,
        requests::{
            extract::{JsonBody, PageQuery, PatchBody, Query},
            precondition,
        },
        responses::problem::Problems,
    },
    jobs::SigningSecret,
};

/// A webhook to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct WebhookRequest {
    /// Where messages are posted to: within what the server's setting `--webhook-target` allows.
    #[schema(
        max_length = 2048,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "https://hooks.example.org/finetuned"
    )]
    url: String,
    /// What it wants to be told: `job.succeeded`, `job.failed`, `job.cancelled`, `dataset.ready`, `dataset.failed`.
    #[schema(schema_with = offered)]
    events: Vec<EventType>,
    /// For people.
    #[schema(max_length = 500, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    description: Option<String>,
}

/// A change of a webhook; fields that are not given are kept (JSON Merge Patch, RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct WebhookPatch {
    #[schema(max_length = 2048, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    url: Option<String>,
    #[schema(schema_with = offered)]
    events: Option<Vec<EventType>>,
    /// Null removes it.
    #[schema(max_length = 500, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    description: Option<String>,
    /// False: it is told nothing more, and what waits for it is given up. True: it is told again, also after it was switched off because it
    /// failed.
    enabled: Option<bool>,
}

/// One or several of what a webhook can ask for.
fn offered() -> ArrayBuilder {
    let names = EventType::OFFERED.map(EventType::as_str);
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names));
    ArrayBuilder::new().items(name).min_items(Some(1))
}

/// A webhook that was just made.
#[derive(Serialize, ToSchema)]
pub struct MadeWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    /// What its messages are signed with. It is shown this once.
    #[schema(example = "whsec_…")]
    secret: String,
}

/// A webhook's new secret.
#[derive(Serialize, ToSchema)]
pub struct NewSecret {
    /// Always `webhook_secret`.
    #[schema(example = "webhook_secret")]
    object: &'static str,
    webhook: WebhookId,
    /// What its messages are signed with from now on. It is shown this once.
    #[schema(example = "whsec_…")]
    secret: String,
}

/// Make a webhook
///
/// The address is told when a job or the reading of a dataset ends, by a POST that is signed as Standard Webhooks has it; the response has
/// the secret, which cannot be shown again. Needs the scope `admin`. 409 `webhooks-off` where the server has no `--webhook-target`; 422 for
/// an address outside of it, and for a private one. docs/WEBHOOKS.md says how to verify a signature.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "webhooks", request_body = WebhookRequest,
    responses((status = 201, body = MadeWebhook, headers(("location" = String))), Problems)
)]
pub async fn create(State(app): State<App>, body: JsonBody) -> Result<Response> {
    let new = NewWebhook::parse(&body.value).map_err(invalid)?;
    let webhooks = app.jobs().webhooks();
    webhooks.check_url(&new.url)?;
    let id = WebhookId::new();
    let secret = webhooks.secret(id, FIRST).await?;
    app.store().create_webhook(id, new, secret.digest()).await?;
    let location = [(header::LOCATION, format!("/v1/webhooks/{id}"))];
    let made = MadeWebhook {
        webhook: app.store().webhook(&id.to_string()).await?,
        secret: secret.reveal(),
    };
    Ok((StatusCode::CREATED, location, Json(made)).into_response())
}

/// Number of a webhook's first secret.
const FIRST: u32 = 1;

fn invalid(faults: Vec<FieldError>) -> Error {
    Error::fields("the webhook is invalid", faults)
}

/// List webhooks
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks", params(PageQuery),
    responses((status = 200, body = Page<Webhook>), Problems)
)]
pub async fn list(State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<Webhook>>> {
    Ok(Json(app.store().webhooks(&page.check()).await?))
}

/// Get a webhook
///
/// Its `ETag` changes with everything that is shown, also with what waits to be delivered.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(
        ("webhook" = String, Path),
        ("if-none-match" = Option<String>, Header, description = "304 if this is its ETag")
    ),
    responses(
        (status = 200, body = Webhook, headers(("etag" = String))),
        (status = 304, description = "It is as the client has it", headers(("etag" = String))),
        Problems
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    precondition::shown(&headers, None, &app.store().webhook(&reference).await?)
}

/// Change a webhook
///
/// The body is a merge patch (RFC 7396), as `application/json` or `application/merge-patch+json`.
#[utoipa::path(
    patch, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(
        ("webhook" = String, Path),
        ("if-match" = Option<String>, Header, description = "Only if this is its ETag")
    ),
    request_body(content((WebhookPatch = "application/json"), (WebhookPatch = "application/merge-patch+json"))),
    responses((status = 200, body = Webhook, headers(("etag" = String))), Problems)
)]
pub async fn edit(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
    PatchBody(patch): PatchBody,
) -> Result<Response> {
    let webhook = app.store().webhook(&reference).await?;
    let seen = precondition::seen(&headers, &webhook, &webhook)?;
    let edit = WebhookEdit::parse(&patch).map_err(invalid)?;
    if let Some(url) = &edit.url {
        app.jobs().webhooks().check_url(url)?;
    }
    app.store().edit_webhook(webhook.id, edit, seen).await?;
    let webhook = app.store().webhook(&reference).await?;
    let tag = [(header::ETAG, Tag::of(&webhook).to_string())];
    Ok((tag, Json(webhook)).into_response())
}

/// Delete a webhook with its log
#[utoipa::path(
    delete, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(
        ("webhook" = String, Path),
        ("if-match" = Option<String>, Header, description = "Only if this is its ETag")
    ),
    responses((status = 204), Problems)
)]
pub async fn delete(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let webhook = app.store().webhook(&reference).await?;
    let seen = precondition::seen(&headers, &webhook, &webhook)?;
    app.store().delete_webhook(webhook.id, seen).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a webhook another secret
///
/// For a day messages have two signatures, by the new secret and by the one before, so that the receiver can change over without losing any.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook}/secret", tag = "webhooks", params(("webhook" = String, Path)),
    responses((status = 200, body = NewSecret), Problems)
)]
pub async fn change_secret(State(app): State<App>, Path(reference): Path<String>) -> Result<Json<NewSecret>> {
    let webhook = app.store().webhook(&reference).await?.id;
    let secret: SigningSecret = app.jobs().webhooks().change_secret(webhook).await?;
    Ok(Json(NewSecret {
        object: "webhook_secret",
        webhook,
        secret: secret.reveal(),
    }))
}
