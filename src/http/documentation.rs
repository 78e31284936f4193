//! The API's description: made from the handlers themselves, so that a route exists only with it.

use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use utoipa::{
    OpenApi, PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use super::{
    problem::{Problem, Problems},
    routes,
};
use crate::{
    domain::{
        event::{
            CheckpointEvent, EndEvent, EpochEvent, LogEvent, RewindEvent, StatusEvent, StepEvent,
            WarningEvent,
        },
        spec::{JobSpec, PreviewSpec},
    },
    error::Error,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "finetuned",
        description = "Turns a folder of labelled images into a served classifier: upload an archive, submit a job, watch its loss curve, \
                       post an image. Every error is a problem (RFC 9457). Wherever an id is taken, a unique name is taken too.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "datasets", description = "Archives of labelled images"),
        (name = "jobs", description = "Fine-tuning"),
        (name = "models", description = "What jobs make, and predictions"),
        (name = "system"),
        (name = "dashboard"),
    ),
    components(schemas(
        Problem, StatusEvent, StepEvent, EpochEvent, CheckpointEvent, LogEvent, WarningEvent, RewindEvent, EndEvent
    ))
)]
pub struct Description;

/// The complete description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes::table().into_openapi()
}

/// The description of this API, OpenAPI 3.1
#[utoipa::path(get, path = "/openapi.json", tag = "system", responses((status = 200, body = Object), Problems))]
pub async fn openapi_json() -> Json<utoipa::openapi::OpenApi> {
    Json(openapi())
}

/// The description of this API, OpenAPI 3.1, as YAML
#[utoipa::path(get, path = "/openapi.yaml", tag = "system", responses((status = 200, body = String, content_type = "application/yaml"), Problems))]
pub async fn openapi_yaml() -> Result<Response, Error> {
    let text = openapi().to_yaml().map_err(Error::internal)?;
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

/// A job spec as callers send it: [`JobSpec`] with everything but the dataset optional.
pub struct JobRequest;

impl PartialSchema for JobRequest {
    fn schema() -> RefOr<Schema> {
        let schema = request_schema().and_then(serde_json::from_value);
        schema.unwrap_or_else(|_| utoipa::openapi::Object::new().into())
    }
}

impl ToSchema for JobRequest {}

/// A preview as callers ask for it: those fields of a job that change its pictures, and how many of them; all optional.
pub struct PreviewRequest;

impl PartialSchema for PreviewRequest {
    fn schema() -> RefOr<Schema> {
        let schema = preview_schema().and_then(serde_json::from_value);
        schema.unwrap_or_else(|_| utoipa::openapi::Object::new().into())
    }
}

impl ToSchema for PreviewRequest {}

fn preview_schema() -> serde_json::Result<Value> {
    let job = request_schema()?;
    let count = |default: u32, description: &str| json!({"type": "integer", "minimum": 1, "maximum": PreviewSpec::MOST, "default": default, "description": description});
    let mut schema = json!({
        "type": "object", "additionalProperties": false,
        "description": "Fields of a job that change its pictures, as in its spec, and how many pictures to draw.",
        "properties": {
            "images": count(4, "Rows: training images, evenly spread over the dataset."),
            "views": count(6, "Columns after the first: what the first epochs would train on."),
        },
    });
    for field in PreviewSpec::OF_THE_JOB {
        schema["properties"][field] = job["properties"][field].clone();
    }
    Ok(schema)
}

/// The schema of the resolved spec, its parts written in place, and nothing required but the dataset.
fn request_schema() -> serde_json::Result<Value> {
    let mut parts = Vec::new();
    JobSpec::schemas(&mut parts);
    let parts: Map<String, Value> = parts
        .into_iter()
        .map(|(name, schema)| Ok((name, serde_json::to_value(schema)?)))
        .collect::<serde_json::Result<_>>()?;
    let mut schema = serde_json::to_value(JobSpec::schema())?;
    write_in_place(&mut schema, &parts);
    schema["required"] = json!(["dataset"]);
    schema["description"] = json!("What to train, on what, how. Everything but the dataset has a default.");
    Ok(schema)
}

fn write_in_place(schema: &mut Value, parts: &Map<String, Value>) {
    match schema {
        Value::Object(object) => {
            if let Some(name) = object
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|path| path.rsplit('/').next())
                && let Some(part) = parts.get(name)
            {
                *schema = part.clone();
                return write_in_place(schema, parts);
            }
            if object.contains_key("properties") {
                object.remove("required");
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(|value| write_in_place(value, parts));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| write_in_place(value, parts)),
        _ => {}
    }
}
