//! TorchServe's inference API, for existing clients: `/predictions/{model}[/{version}]` and `/ping`.
//!
//! Like its image classifier, it returns an object with the five most likely classes: `{"bees": 0.93, "ants": 0.07}`.

use std::time::Instant;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::Response,
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{
    images::{self, Images, answered},
    of_version,
};
use crate::{
    domain::models::prediction::ClassProbability,
    error::{Error, Kind},
    http::{App, responses::problem::Problems},
};

/// Number of classes that TorchServe's image classifier returns.
const TOP_K: u32 = 5;

/// Probability by class name, in descending order.
#[derive(ToSchema)]
#[schema(value_type = std::collections::BTreeMap<String, f64>)]
pub struct Labels(Vec<ClassProbability>);

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|class| (&class.label, class.probability)))
    }
}

/// Classify an image (TorchServe)
///
/// The body is an image file, or a form with one file, whatever its field is called. Returns the five most likely classes, the most likely first; of a model of several labels all that the image shows, even if they are more.
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

/// Classify an image (TorchServe), with `curl -T`
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

/// Classify an image with a version of a model (TorchServe)
#[utoipa::path(
    post, path = "/predictions/{model}/{version}", tag = "torchserve",
    params(("model" = String, Path, description = "Name"), ("version" = String, Path, description = "`1`, or `1.0` as TorchServe writes it")),
    request_body(content(("application/octet-stream"), ("multipart/form-data"))),
    responses((status = 200, body = Labels, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn version_post(
    State(app): State<App>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Error> {
    predictions(app, &of_version(&model, &version), request).await
}

/// Classify an image with a version of a model (TorchServe), with `curl -T`
#[utoipa::path(
    put, path = "/predictions/{model}/{version}", tag = "torchserve",
    params(("model" = String, Path, description = "Name"), ("version" = String, Path, description = "`1`, or `1.0` as TorchServe writes it")),
    request_body(content(("application/octet-stream"))),
    responses((status = 200, body = Labels, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn version_put(
    State(app): State<App>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Error> {
    predictions(app, &of_version(&model, &version), request).await
}

async fn predictions(app: App, reference: &str, request: Request) -> Result<Response, Error> {
    let begun = Instant::now();
    let model = images::model(&app, reference).await?;
    let Images::One(image) = images::read(&app, request).await? else {
        let detail = "send one image: as the body, or as the only file of a form";
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

/// Health check (TorchServe)
#[utoipa::path(
    get, path = "/ping", tag = "torchserve",
    responses((status = 200, body = Ping), Problems)
)]
pub async fn ping() -> Json<Ping> {
    Json(Ping { status: "Healthy" })
}
