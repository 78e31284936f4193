//! The API's description: made from the handlers themselves, so that a route exists only with it.

use axum::{
    Extension, Json,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::responses::problem::{Problem, Problems};
use crate::http::requests::schemas::request_schema;
use crate::{
    domain::jobs::{
        event::{
            CheckpointEvent, EndEvent, EpochEvent, LogEvent, RewindEvent, StatusEvent, StepEvent,
            WarningEvent,
        },
        job::Progress,
    },
    error::Error,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "finetuned",
        description = "Turns a folder of labelled images into a served classifier: upload an archive, submit a job, watch its loss curve, \
                       post an image. Every error is a problem (RFC 9457). Wherever an id is taken, a unique name is taken too. What is damaged on \
                       the server's disk and cannot be made again is 500 `data-damaged` wherever it is read, and trying again does not help.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "datasets", description = "Archives of labelled images"),
        (name = "uploads", description = "Archives in several requests that may break off and go on (tus 1.0)"),
        (name = "jobs", description = "Fine-tuning, evaluation, batch prediction, and the search for a learning rate"),
        (name = "models", description = "What jobs make and people bring, aliases for it, and predictions"),
        (name = "open inference protocol", description = "Predictions as KServe and Triton have them"),
        (name = "torchserve", description = "Predictions as TorchServe has them"),
        (name = "system"),
        (name = "dashboard"),
    ),
    components(schemas(
        Problem, StatusEvent, StepEvent, EpochEvent, CheckpointEvent, LogEvent, WarningEvent, RewindEvent, EndEvent,
        Progress
    ))
)]
pub struct Description;

/// Makes the complete description of the API. The routes, which have it, are made of these handlers too.
#[derive(Clone, Copy)]
pub struct Described(pub fn() -> utoipa::openapi::OpenApi);

/// The description of this API, OpenAPI 3.1
#[utoipa::path(get, path = "/openapi.json", tag = "system", responses((status = 200, body = Object), Problems))]
pub async fn openapi_json(Extension(api): Extension<Described>) -> Json<utoipa::openapi::OpenApi> {
    Json(api.0())
}

/// The description of this API, OpenAPI 3.1, as YAML
#[utoipa::path(get, path = "/openapi.yaml", tag = "system", responses((status = 200, body = String, content_type = "application/yaml"), Problems))]
pub async fn openapi_yaml(Extension(api): Extension<Described>) -> Result<Response, Error> {
    let text = api.0().to_yaml().map_err(Error::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// The JSON Schema (2020-12) of a job spec, with its defaults
#[utoipa::path(get, path = "/v1/schemas/job", tag = "jobs", responses((status = 200, body = Object), Problems))]
pub async fn job_schema() -> Result<Json<Value>, Error> {
    let mut schema = request_schema().map_err(Error::internal)?;
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Job spec");
    Ok(Json(schema))
}
