//! What clients of the Open Inference Protocol request first: server metadata, health, and model metadata.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{EMBEDDING, IMAGE, LABEL, PROBABILITIES, TENSOR, wire::Datatype};
use crate::{
    domain::{models::model::Model, name::Name},
    error::{Error, Kind, Result},
    http::{App, predictions::of_version, responses::problem::Problems},
};

/// Metadata of the server.
#[derive(Serialize, ToSchema)]
pub struct ServerMetadata {
    /// Always `finetuned`.
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 2],
}

/// Server metadata (Open Inference Protocol)
#[utoipa::path(get, path = "/v2", tag = "open inference protocol", responses((status = 200, body = ServerMetadata), Problems))]
pub async fn server() -> Json<ServerMetadata> {
    Json(ServerMetadata {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        extensions: ["classification", "binary_tensor_data"],
    })
}

#[derive(Serialize, ToSchema)]
pub struct Live {
    live: bool,
}

/// Liveness (Open Inference Protocol)
#[utoipa::path(get, path = "/v2/health/live", tag = "open inference protocol", responses((status = 200, body = Live), Problems))]
pub async fn live() -> Json<Live> {
    Json(Live { live: true })
}

#[derive(Serialize, ToSchema)]
pub struct Ready {
    ready: bool,
}

/// Readiness (Open Inference Protocol)
#[utoipa::path(get, path = "/v2/health/ready", tag = "open inference protocol", responses((status = 200, body = Ready), Problems))]
pub async fn ready(State(app): State<App>) -> Result<Json<Ready>> {
    if app.stopping().is_cancelled() {
        return Err(Error::new(
            Kind::Unavailable,
            "draining",
            "the server is stopping",
        ));
    }
    Ok(Json(Ready { ready: true }))
}

/// Inputs and outputs of a model.
#[derive(Serialize, ToSchema)]
pub struct ModelMetadata {
    name: Name,
    versions: Vec<String>,
    /// Always `pytorch_libtorch`.
    platform: &'static str,
    /// A request has exactly one of them.
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

#[derive(Serialize, ToSchema)]
pub struct TensorMetadata {
    name: &'static str,
    datatype: Datatype,
    /// -1 is the batch size: any number of images.
    shape: Vec<i64>,
}

/// Model metadata (Open Inference Protocol)
#[utoipa::path(
    get, path = "/v2/models/{model}", tag = "open inference protocol",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version")),
    responses((status = 200, body = ModelMetadata), Problems)
)]
pub async fn model(State(app): State<App>, Path(model): Path<String>) -> Result<Json<ModelMetadata>> {
    Ok(Json(describe(&app.store().model(&model).await?)))
}

/// Metadata of a model version (Open Inference Protocol)
#[utoipa::path(
    get, path = "/v2/models/{model}/versions/{version}", tag = "open inference protocol",
    params(("model" = String, Path, description = "Name"), ("version" = String, Path, description = "Version")),
    responses((status = 200, body = ModelMetadata), Problems)
)]
pub async fn version(
    State(app): State<App>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<ModelMetadata>> {
    let model = app.store().model(&of_version(&model, &version)).await?;
    Ok(Json(describe(&model)))
}

#[derive(Serialize, ToSchema)]
pub struct ModelReady {
    name: Name,
    ready: bool,
}

/// Readiness of a model (Open Inference Protocol)
#[utoipa::path(
    get, path = "/v2/models/{model}/ready", tag = "open inference protocol",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version")),
    responses((status = 200, body = ModelReady), Problems)
)]
pub async fn model_ready(State(app): State<App>, Path(model): Path<String>) -> Result<Json<ModelReady>> {
    let name = app.store().model(&model).await?.name;
    Ok(Json(ModelReady { name, ready: true }))
}

/// Readiness of a model version (Open Inference Protocol)
#[utoipa::path(
    get, path = "/v2/models/{model}/versions/{version}/ready", tag = "open inference protocol",
    params(("model" = String, Path, description = "Name"), ("version" = String, Path, description = "Version")),
    responses((status = 200, body = ModelReady), Problems)
)]
pub async fn version_ready(
    State(app): State<App>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<ModelReady>> {
    let name = app.store().model(&of_version(&model, &version)).await?.name;
    Ok(Json(ModelReady { name, ready: true }))
}

fn describe(model: &Model) -> ModelMetadata {
    let card = &model.card;
    let side = i64::from(card.preprocessing.crop);
    let tensor = |name, datatype, shape: &[i64]| TensorMetadata {
        name,
        datatype,
        shape: shape.to_vec(),
    };
    let features = card.architecture.features() as i64;
    let embedding = tensor(EMBEDDING, Datatype::Fp32, &[-1, features]);
    ModelMetadata {
        name: model.name.clone(),
        versions: vec![model.version.to_string()],
        platform: "pytorch_libtorch",
        inputs: vec![
            tensor(IMAGE, Datatype::Bytes, &[-1]),
            tensor(TENSOR, Datatype::Fp32, &[-1, 3, side, side]),
        ],
        outputs: match model.without_head() {
            None => vec![
                tensor(PROBABILITIES, Datatype::Fp32, &[-1, card.classes.len() as i64]),
                tensor(LABEL, Datatype::Bytes, &[-1]),
                embedding,
            ],
            Some(_) => vec![embedding],
        },
    }
}
