//! `/v1/architectures`: the networks that jobs can train.

use axum::Json;

use crate::{
    domain::{
        architecture::{Architecture, ArchitectureDescription},
        page::Page,
    },
    http::responses::problem::Problems,
};

/// List the architectures that jobs can train: size, cost, stages and sources of weights
#[utoipa::path(
    get, path = "/v1/architectures", tag = "jobs", responses((status = 200, body = Page<ArchitectureDescription>), Problems)
)]
pub async fn list() -> Json<Page<ArchitectureDescription>> {
    Json(Page {
        object: "list",
        data: Architecture::ALL.iter().map(|it| it.describe()).collect(),
        has_more: false,
    })
}
