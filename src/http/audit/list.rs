//! `GET /v1/audit`.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::{
        access::AuditRecord,
        page::{Order, Page},
        time::Timestamp,
    },
    error::Result,
    http::{
        App,
        requests::extract::{PageLimit, PageQuery, Query},
        responses::problem::Problems,
    },
    store::AuditFilter,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<PageLimit>,
    /// Id of the last record of the previous page.
    after: Option<String>,
    /// `desc` (newest first) or `asc`.
    #[param(inline)]
    order: Option<Order>,
    /// Only what was done with this key, by its name or id; `none`: without one.
    key: Option<String>,
    /// Only what was done to this thing: its id, or the name of an alias.
    thing: Option<String>,
    /// Only from this time on.
    #[param(inline)]
    since: Option<Timestamp>,
    /// Only before this time.
    #[param(inline)]
    until: Option<Timestamp>,
}

/// Audit log: who changed what, when and from where
///
/// Every request that is there to change something, also if it was refused, and every key that was made or revoked at the command line. Of
/// refusals that come too fast some are recorded, and the number of the others. Records go by their age and number
/// (`--max-audit-age-seconds`, `--max-audit-records`). Needs the scope `admin`.
#[utoipa::path(get, path = "/v1/audit", tag = "keys", params(AuditQuery), responses((status = 200, body = Page<AuditRecord>), Problems))]
pub async fn list(
    State(app): State<App>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditRecord>>> {
    let page = PageQuery {
        limit: query.limit,
        after: query.after,
        order: query.order,
    }
    .check();
    let filter = AuditFilter {
        key: query.key,
        thing: query.thing,
        since: query.since,
        until: query.until,
    };
    // Whoever has just changed something finds it.
    app.journal().flushed().await;
    Ok(Json(app.store().audit(&filter, &page).await?))
}
