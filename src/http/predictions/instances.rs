//! `POST /v1/models/{model}:predict`: TensorFlow Serving's predict API, which KServe calls its protocol V1: `{"instances": […]}` is answered
//! by `{"predictions": […]}`.
//!
//! An instance is an image file in base64. Numbers are refused: nobody can tell how they were scaled. Like TensorFlow Serving for models
//! with several outputs, it gives an object for each instance.

use std::time::Instant;

use axum::{
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{OpenApi, ToSchema};

use super::{
    images::{self, all_predictions, answered, check_count_of, decoded, in_order_of_classes},
    of_version,
};
use crate::{
    error::{Error, FieldError, Kind, Result},
    http::{
        App,
        documentation::table::Table,
        requests::{extract::read_body, json},
        responses::problem::Problems,
    },
    inference::{ModelInput, Prediction},
};

/// Fields that hold the image where an instance has several with text.
const USUAL: [&str; 6] = ["image_bytes", "image", "data", "content", "bytes", "input"];

/// The request. Other fields, such as `signature_name`, are ignored.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code)]
pub struct InstancesRequest {
    /// Image files in base64: `{"b64": "…"}`, `{"image_bytes": {"b64": "…"}}`, or the text itself.
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 64, example = json!([{"b64": "UDMgMSAxIDI1NSAwIDAgMAo="}]))]
    instances: Vec<Value>,
}

/// The predictions, in the order of the instances.
#[derive(Serialize, ToSchema)]
pub struct InstancePredictions {
    predictions: Vec<InstancePrediction>,
}

#[derive(Serialize, ToSchema)]
pub struct InstancePrediction {
    /// In the order of the model's classes.
    probabilities: Vec<f32>,
    /// Index of the most likely class.
    classes: u32,
    /// Its name.
    label: String,
    /// Only of a model of several labels: those that the image shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<String>>,
}

#[derive(OpenApi)]
#[openapi(paths(predict, predict_version))]
struct Description;

/// Registered by hand: a route cannot end within a segment of the path, and these share theirs with the models.
pub fn routes(table: Table) -> Table {
    table
        .at("/v1/models/{model}", post(predict), Description::openapi)
        .at(
            "/v1/models/{model}/versions/{version}",
            post(predict_version),
            Description::openapi,
        )
}

/// Classify images (TensorFlow Serving, KServe V1)
///
/// Each instance is an image file in base64: `{"b64": "…"}`, `{"image_bytes": {"b64": "…"}}`, or the text itself. The request fails as a
/// whole if one of them is invalid.
#[utoipa::path(
    post, path = "/v1/models/{model}:predict", tag = "tensorflow serving",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version")),
    request_body = InstancesRequest,
    responses((status = 200, body = InstancePredictions, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn predict(
    State(app): State<App>,
    Path(target): Path<String>,
    request: Request,
) -> Result<Response> {
    match model_of(&target)? {
        Some(model) => answer(&app, model, request).await,
        None => Ok(not_allowed("GET, HEAD, PUT, PATCH, DELETE")),
    }
}

/// Classify images with a version of a model (TensorFlow Serving)
#[utoipa::path(
    post, path = "/v1/models/{model}/versions/{version}:predict", tag = "tensorflow serving",
    params(("model" = String, Path, description = "Name"), ("version" = String, Path, description = "Version")),
    request_body = InstancesRequest,
    responses((status = 200, body = InstancePredictions, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn predict_version(
    State(app): State<App>,
    Path((model, target)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    match model_of(&target)? {
        Some(version) => answer(&app, &of_version(&model, version), request).await,
        None => Ok(not_allowed("")),
    }
}

/// What stands before `:predict`; `None` without a verb.
fn model_of(target: &str) -> Result<Option<&str>> {
    match target.rsplit_once(':') {
        Some((model, "predict")) => Ok(Some(model)),
        Some((_, verb)) => {
            let verb: String = verb.chars().filter(|c| !c.is_control()).take(80).collect();
            let detail = format!(
                "`:{verb}` is not served, only `:predict`; explanations are at /v1/models/{{model}}/explain"
            );
            Err(Error::new(Kind::NotFound, "not-found", detail))
        }
        None => Ok(None),
    }
}

fn not_allowed(methods: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, methods)]).into_response()
}

async fn answer(app: &App, reference: &str, request: Request) -> Result<Response> {
    let begun = Instant::now();
    let model = images::model(app, reference).await?;
    // Whatever its media type: the usual examples send this with `curl -d`, which says that it is a form.
    let body = read_body(request.into_body(), app.limits().max_predict_bytes).await?;
    let instances = instances(json::parse_set(&body)?)?;
    check_count_of(app, "/instances", instances.len())?;
    let images = instances.iter().enumerate();
    let images = images.map(|(index, instance)| Ok(ModelInput::File(image_in(index, instance)?)));
    let images = images.collect::<Result<Vec<_>>>()?;
    let predictions = all_predictions(app, &model, &images, "instance").await?;
    let timings: Vec<_> = predictions.iter().map(|prediction| prediction.timing).collect();
    let answer = InstancePredictions {
        predictions: predictions.iter().map(shown).collect(),
    };
    Ok(answered(begun, &model, &timings, answer))
}

fn shown(prediction: &Prediction) -> InstancePrediction {
    let best = prediction.classes.first();
    InstancePrediction {
        probabilities: in_order_of_classes(prediction),
        classes: best.map_or(0, |class| class.index),
        label: best.map(|class| class.label.clone()).unwrap_or_default(),
        labels: prediction.predicted_labels(),
    }
}

fn instances(document: Value) -> Result<Vec<Value>> {
    let Value::Object(mut fields) = document else {
        return Err(wrong(
            "",
            "type",
            "must be an object: {\"instances\": [{\"b64\": \"<base64>\"}]}",
        ));
    };
    match fields.remove("instances") {
        Some(Value::Array(instances)) => Ok(instances),
        Some(_) => Err(wrong(
            "/instances",
            "type",
            "must be a list: [{\"b64\": \"<base64>\"}]",
        )),
        None if fields.contains_key("inputs") => {
            let message =
                "the columns of `inputs` are not read; send rows: {\"instances\": [{\"b64\": \"<base64>\"}]}";
            Err(wrong("/instances", "missing", message))
        }
        None => Err(wrong(
            "/instances",
            "missing",
            "send the images: [{\"b64\": \"<base64>\"}]",
        )),
    }
}

/// The image file of an instance.
fn image_in(index: usize, instance: &Value) -> Result<Bytes> {
    let (path, text) =
        text_in(instance).map_err(|message| wrong(&format!("/instances/{index}"), "type", &message))?;
    decoded(&format!("instances[{index}]{path}"), text)
}

/// The base64 of an instance, and where in it it stands.
///
/// # Errors
/// What to send instead.
fn text_in(instance: &Value) -> Result<(String, &str), String> {
    match instance {
        Value::String(text) => Ok((String::new(), text)),
        Value::Object(fields) => text_of(fields),
        // As numpy writes a column of strings.
        Value::Array(elements) if elements.len() == 1 && !elements[0].is_array() && !elements[0].is_number() => {
            let (path, text) = text_in(&elements[0])?;
            Ok((format!("[0]{path}"), text))
        }
        Value::Array(_) | Value::Number(_) => Err(
            "is numbers, and nobody can tell how they were scaled; send the image file: {\"b64\": \"<base64 of the file>\"}. Pixels that \
             are preprocessed as the model needs them go to POST /v2/models/{model}/infer, as the input `input`"
                .to_owned(),
        ),
        other => Err(format!("is {other}; send the image file: {{\"b64\": \"<base64 of the file>\"}}")),
    }
}

fn text_of(fields: &Map<String, Value>) -> Result<(String, &str), String> {
    if let Some(Value::String(text)) = fields.get("b64") {
        return Ok((".b64".to_owned(), text));
    }
    let nested = fields.iter().filter_map(|(name, value)| {
        let text = value.as_object()?.get("b64")?.as_str()?;
        Some((format!(".{name}.b64"), text))
    });
    let nested: Vec<_> = nested.collect();
    let texts = fields
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_str()?)));
    let texts: Vec<_> = texts.map(|(name, text)| (format!(".{name}"), text)).collect();
    let usual = USUAL
        .iter()
        .find_map(|name| Some((format!(".{name}"), fields.get(*name)?.as_str()?)));
    match (nested.as_slice(), texts.as_slice(), usual) {
        ([one], ..) => Ok(one.clone()),
        ([], [one], _) => Ok(one.clone()),
        ([], _, Some(usual)) => Ok(usual),
        (found, ..) => {
            let names: Vec<_> = fields.keys().take(10).map(|name| format!("`{name}`")).collect();
            let names = match names.is_empty() {
                true => "no fields".to_owned(),
                false => format!("the fields {}", names.join(", ")),
            };
            let why = match found.len() {
                0 => "none of them is known to be the image",
                _ => "several of them are files",
            };
            Err(format!(
                "has {names}, and {why}; send one image file in each instance: {{\"b64\": \"<base64 of the file>\"}}"
            ))
        }
    }
}

fn wrong(pointer: &str, code: &str, message: &str) -> Error {
    let what = if pointer.is_empty() {
        "the body"
    } else {
        &pointer[1..]
    };
    let detail = format!("`{what}` {message}").replace("`the body`", "the body");
    Error::fields(detail, vec![FieldError::new(pointer, code, message)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_instance_has_its_image_in_one_of_the_usual_places() {
        for (instance, path) in [
            (json!("AAAA"), ""),
            (json!({"b64": "AAAA"}), ".b64"),
            (json!({"b64": "AAAA", "key": "7"}), ".b64"),
            (json!({"image_bytes": {"b64": "AAAA"}}), ".image_bytes.b64"),
            (
                json!({"key": "7", "image_bytes": {"b64": "AAAA"}}),
                ".image_bytes.b64",
            ),
            (json!({"input_1": {"b64": "AAAA"}}), ".input_1.b64"),
            (json!({"data": "AAAA"}), ".data"),
            (json!({"content": "AAAA", "mimeType": "image/png"}), ".content"),
            (json!({"anything": "AAAA", "size": 3}), ".anything"),
            (json!(["AAAA"]), "[0]"),
            (json!([{"b64": "AAAA"}]), "[0].b64"),
        ] {
            assert_eq!(text_in(&instance), Ok((path.to_owned(), "AAAA")), "{instance}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_send() {
        for (instance, words) in [
            (json!([[[0.1, 0.2, 0.3]]]), "is numbers"),
            (json!([0, 1, 2]), "is numbers"),
            (json!([1]), "is numbers"),
            (json!(7), "is numbers"),
            (json!([]), "is numbers"),
            (json!(true), "is true"),
            (json!({}), "no fields"),
            (
                json!({"sepal_length": 1.5, "sepal_width": 2}),
                "`sepal_length`, `sepal_width`",
            ),
            (
                json!({"left": {"b64": "AAAA"}, "right": {"b64": "AAAA"}}),
                "several of them are files",
            ),
            (
                json!({"first": "AAAA", "second": "AAAA"}),
                "none of them is known",
            ),
            (json!({"image": [[1, 2], [3, 4]]}), "none of them is known"),
        ] {
            let told = text_in(&instance).unwrap_err();
            assert!(told.contains(words) && told.contains("b64"), "{instance}: {told}");
        }
    }

    #[test]
    fn the_body_has_instances() {
        assert_eq!(
            instances(json!({"instances": [1], "signature_name": "x"})).unwrap(),
            [json!(1)]
        );
        for (body, words) in [
            (json!([1]), "an object"),
            (json!({}), "send the images"),
            (json!({"inputs": []}), "columns"),
            (json!({"instances": {"b64": ""}}), "a list"),
        ] {
            let told = instances(body).unwrap_err();
            assert!(told.detail().contains(words), "{}", told.detail());
        }
    }

    #[test]
    fn the_verb_is_behind_the_last_colon() {
        assert_eq!(model_of("thing:predict").unwrap(), Some("thing"));
        assert_eq!(model_of("thing@2:predict").unwrap(), Some("thing@2"));
        assert_eq!(model_of("thing").unwrap(), None);
        for other in ["thing:explain", "thing:classify", "thing:predict:x", "thing:"] {
            assert_eq!(model_of(other).unwrap_err().kind(), Kind::NotFound, "{other}");
        }
    }
}
