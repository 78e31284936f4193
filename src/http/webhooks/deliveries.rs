//! `/v1/webhooks/{webhook}/deliveries` and `/v1/webhooks/{webhook}/test`: what a webhook was told, and whether it listens.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::{
        page::{Order, Page},
        sinks::{Delivery, DeliveryStatus},
    },
    error::Result,
    http::{
        App,
        requests::extract::{PageLimit, PageQuery, Query},
        responses::problem::Problems,
    },
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<PageLimit>,
    /// Id of the last message of the previous page.
    after: Option<String>,
    /// `desc` (newest first) or `asc`.
    #[param(inline)]
    order: Option<Order>,
    #[param(inline)]
    status: Option<DeliveryStatus>,
}

/// What a webhook was told
///
/// Every message with its attempts: when, how long it took, the status of the answer or why there was none, and when it is tried next. What
/// was delivered or given up goes after `--keep-deliveries`, and when there are more than a thousand.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook}/deliveries", tag = "webhooks", params(("webhook" = String, Path), DeliveriesQuery),
    responses((status = 200, body = Page<Delivery>), Problems)
)]
pub async fn list(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Json<Page<Delivery>>> {
    let webhook = app.store().webhook(&reference).await?;
    let page = PageQuery {
        limit: query.limit,
        after: query.after,
        order: query.order,
    }
    .check();
    let deliveries = app.store().deliveries(webhook.id, query.status, &page).await?;
    Ok(Json(deliveries))
}

/// Try a webhook
///
/// Sends a message `webhook.test` at once, also where the webhook is off, and answers with what came of it. It is not tried again.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook}/test", tag = "webhooks", params(("webhook" = String, Path)),
    responses((status = 200, body = Delivery), Problems)
)]
pub async fn test(State(app): State<App>, Path(reference): Path<String>) -> Result<Json<Delivery>> {
    let webhook = app.store().webhook(&reference).await?;
    Ok(Json(app.jobs().webhooks().test(&webhook).await?))
}
