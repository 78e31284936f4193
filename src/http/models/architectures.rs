//! `/v1/architectures`: the networks that jobs can train.

use std::sync::OnceLock;

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
        data: ALL.get_or_init(describe_all).clone(),
        has_more: false,
    })
}

/// Counting through all networks takes tens of milliseconds, and always gives the same.
static ALL: OnceLock<Vec<ArchitectureDescription>> = OnceLock::new();

fn describe_all() -> Vec<ArchitectureDescription> {
    Architecture::ALL.iter().map(|it| it.describe()).collect()
}
