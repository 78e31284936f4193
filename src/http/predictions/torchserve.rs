//! TorchServe's inference API, for clients that were written for it: `/predictions/{model}[/{version}]` and `/ping`.
//!
//! As its image classifier does, it answers with an object of the five likeliest classes: `{"bees": 0.93, "ants": 0.07}`.

use std::time::Instant;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::Response,
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::images::{self, Images, answered};
use crate::{
    domain::models::prediction::ClassProbability,
    error::{Error, Kind},
    http::{App, responses::problem::Problems},
};

/// How many classes TorchServe's image classifier answers with.
const TOP_K: u32 = 5;

/// Probability by class name, in the order of the list.
#[derive(ToSchema)]
#[schema(value_type = std::collections::BTreeMap<String, f64>)]
pub struct Labels(Vec<ClassProbability>);

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|class| (&class.label, class.probability)))
    }
}

/// Classify an image, as TorchServe does
///
/// The body is an image file, or a form with one field `data` or `file`. The answer holds the five likeliest classes, likeliest first.
#[utoipa::path(
    post, path = "/predictions/{model}", tag = "torchserve",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version")),
    request_body(content(("application/octet-stream"), ("multipart/form-data"))),
    responses((status = 200, body = Labels, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn predictions_post(
    State(app): State<App>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Error> {
    predictions(app, &model, request).await
}

/// Classify an image, as TorchServe does, from `curl -T`
#[utoipa::path(
    put, path = "/predictions/{model}", tag = "torchserve",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version")),
    request_body(content(("application/octet-stream"))),
    responses((status = 200, body = Labels, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn predictions_put(
    State(app): State<App>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Error> {
    predictions(app, &model, request).await
}

/// Classify an image with one version of a model, as TorchServe does
#[utoipa::path(
    post, path = "/predictions/{model}/{version}", tag = "torchserve",
    params(("model" = String, Path, description = "Name"), ("version" = u32, Path, description = "Version")),
    request_body(content(("application/octet-stream"), ("multipart/form-data"))),
    responses((status = 200, body = Labels, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn predictions_of_version(
    State(app): State<App>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Error> {
    predictions(app, &format!("{model}@{version}"), request).await
}

async fn predictions(app: App, reference: &str, request: Request) -> Result<Response, Error> {
    let begun = Instant::now();
    let model = images::model(&app, reference).await?;
    let Images::One(image) = images::read(&app, request).await? else {
        let detail = "send one image: as the body, or as the field `data` of a form";
        return Err(Error::new(Kind::Malformed, "one-image", detail));
    };
    let prediction = app.inference().predict(&model, image?, TOP_K).await?;
    let timing = [prediction.timing];
    Ok(answered(begun, &model, &timing, Labels(prediction.classes)))
}

/// Whether the server is up.
#[derive(Serialize, ToSchema)]
pub struct Ping {
    /// Always `Healthy`.
    #[schema(example = "Healthy")]
    status: &'static str,
}

/// Health, as TorchServe tells it
#[utoipa::path(
    get, path = "/ping", tag = "torchserve",
    responses((status = 200, body = Ping), Problems)
)]
pub async fn ping() -> Json<Ping> {
    Json(Ping { status: "Healthy" })
}
