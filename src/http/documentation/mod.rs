//! The API description, generated from the handlers, so no route exists without one.

pub mod examples;
pub mod reference;
pub mod table;
pub mod uniform;

use axum::{
    Extension, Json,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::{
    domain::jobs::{
        event::{
            CheckpointEvent, EndEvent, EpochEvent, LogEvent, RewindEvent, StatusEvent, StepEvent,
            WarningEvent,
        },
        job::Progress,
    },
    error::Error,
    http::{
        requests::schemas::request_schema,
        responses::problem::{Problem, Problems},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "finetuned",
        description = "Turns a folder of labelled images into a served image classifier: upload an archive, submit a job, watch its loss curve, \
                       post an image. From the first key on, every request needs one, as `Authorization: Bearer ft_…`. Every error is a problem (RFC 9457). A unique name can be used wherever an id is expected. If stored data is damaged on \
                       the server's disk and cannot be rebuilt, every request that reads it gets 500 `data-damaged`, and trying again does not help.",
        license(name = "MIT OR Apache-2.0")
    ),
    // Relative to the description, which may be below a path of a proxy.
    servers((url = ".", description = "The server that this description comes from")),
    tags(
        (name = "datasets", description = "Archives of labelled images"),
        (name = "uploads", description = "Resumable uploads of archives (tus 1.0)"),
        (name = "jobs", description = "Fine-tuning, evaluation, batch prediction, comparison, cross-validation, label checks, and learning rate finding"),
        (name = "models", description = "Trained and imported models, aliases, and predictions"),
        (name = "open inference protocol", description = "Predictions with the API of KServe and Triton"),
        (name = "torchserve", description = "Predictions with the API of TorchServe"),
        (name = "tensorflow serving", description = "Predictions with the API of TensorFlow Serving, which is KServe's V1"),
        (name = "keys", description = "Keys of callers, logging in with one, and what was changed with them"),
        (name = "webhooks", description = "Addresses that are told how jobs and datasets ended (Standard Webhooks)"),
        (name = "system"),
        (name = "dashboard"),
    ),
    components(schemas(
        Problem, StatusEvent, StepEvent, EpochEvent, CheckpointEvent, LogEvent, WarningEvent, RewindEvent, EndEvent,
        Progress
    ))
)]
pub struct Description;

/// Generates the complete API description. The routes, which own it, are built from these handlers too.
#[derive(Clone, Copy)]
pub struct Described(pub fn() -> utoipa::openapi::OpenApi);

/// API description, OpenAPI 3.1
#[utoipa::path(get, path = "/openapi.json", tag = "system", responses((status = 200, body = Object), Problems))]
pub async fn openapi_json(Extension(api): Extension<Described>) -> Json<utoipa::openapi::OpenApi> {
    Json(api.0())
}

/// API description, OpenAPI 3.1, as YAML
#[utoipa::path(get, path = "/openapi.yaml", tag = "system", responses((status = 200, body = Object, content_type = "application/yaml"), Problems))]
pub async fn openapi_yaml(Extension(api): Extension<Described>) -> Result<Response, Error> {
    let text = api.0().to_yaml().map_err(Error::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// JSON Schema (2020-12) of a job spec, with its defaults
#[utoipa::path(get, path = "/v1/schemas/job", tag = "jobs", responses((status = 200, body = Object), Problems))]
pub async fn job_schema() -> Result<Json<Value>, Error> {
    let mut schema = request_schema().map_err(Error::internal)?;
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Job spec");
    Ok(Json(schema))
}
