//! `/v1/models/{model}/predict`: an image in, classes out. Takes the file itself, a form with files, or JSON with base64.

use std::time::Instant;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Multipart, Path, Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    App,
    extract::{Query, is_json, read_body},
    problem::Problems,
};
use crate::{
    domain::model::{ClassProbability, Model, PredictionTiming},
    error::{Error, FieldError, Kind, Result},
    id::ModelId,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PredictQuery {
    /// Most classes in the answer, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 5)]
    top_k: Option<u32>,
}

/// What a model says of an image.
#[derive(Serialize, ToSchema)]
pub struct Prediction {
    /// Always `prediction`.
    #[schema(example = "prediction")]
    object: &'static str,
    model: ModelId,
    /// The likeliest classes, likeliest first.
    predictions: Vec<ClassProbability>,
    timing_ms: PredictionTiming,
}

/// One of several images that could not be predicted.
#[derive(Serialize, ToSchema)]
pub struct FailedPrediction {
    /// Always `error`.
    #[schema(example = "error")]
    object: &'static str,
    error: ImageError,
}

/// Why an image could not be predicted.
#[derive(Serialize, ToSchema)]
pub struct ImageError {
    /// The same word that a problem's `type` ends with.
    code: String,
    message: String,
}

/// What came of one of several images.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum PredictionOrError {
    Prediction(Prediction),
    Error(FailedPrediction),
}

/// Predictions in the order of the images.
#[derive(Serialize, ToSchema)]
pub struct Predictions {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<PredictionOrError>,
}

/// One image as it was sent, or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Answer {
    One(Prediction),
    Several(Predictions),
}

/// A JSON request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictBody {
    /// Image files, base64 (RFC 4648, with padding).
    images: Vec<String>,
}

/// Classify images
///
/// The body is an image file (`curl -T cat.jpg`), a form with one or more fields `file`, or JSON `{"images": ["<base64>"]}`. One image
/// as the body or in a form is answered by one prediction; several, or JSON, by a list in which a bad image hurts no other.
#[utoipa::path(
    post, path = "/v1/models/{model}/predict", tag = "models",
    params(("model" = String, Path, description = "Id, name (the newest) or name@version"), PredictQuery),
    request_body(content(("application/octet-stream"), ("multipart/form-data"), (PredictBody = "application/json"))),
    responses((status = 200, body = Answer, headers(("server-timing" = String))), Problems)
)]
pub async fn predict_post(
    app: State<App>,
    model: Path<String>,
    query: Query<PredictQuery>,
    request: Request,
) -> Result<Response> {
    predict(app, model, query, request).await
}

/// Classify an image, as `curl -T` sends it
#[utoipa::path(
    put, path = "/v1/models/{model}/predict", tag = "models",
    params(("model" = String, Path, description = "Id, name (the newest) or name@version"), PredictQuery),
    request_body(content(("application/octet-stream"))),
    responses((status = 200, body = Answer, headers(("server-timing" = String))), Problems)
)]
pub async fn predict_put(
    app: State<App>,
    model: Path<String>,
    query: Query<PredictQuery>,
    request: Request,
) -> Result<Response> {
    predict(app, model, query, request).await
}

async fn predict(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<PredictQuery>,
    request: Request,
) -> Result<Response> {
    let begun = Instant::now();
    let top_k = query.top_k.unwrap_or(5);
    if !(1..=1000).contains(&top_k) {
        let fault = FieldError::new("/top_k", "range", "must be from 1 to 1000");
        return Err(Error::fields("the query is wrong", vec![fault]));
    }
    let model = app.store().model(&reference).await?;
    let images = read_images(&app, request).await?;
    let answer = match images {
        Images::One(image) => Answer::One(predict_one(&app, &model, image?, top_k).await?),
        Images::Several(images) => {
            let predictions = images.into_iter().map(|image| async {
                match predict_one(&app, &model, image?, top_k).await {
                    Ok(prediction) => Ok(PredictionOrError::Prediction(prediction)),
                    Err(error) => Err(error),
                }
            });
            let data = join_all(predictions)
                .await
                .into_iter()
                .map(|outcome| outcome.or_else(own_error))
                .collect::<Result<_>>()?;
            Answer::Several(Predictions { object: "list", data })
        }
    };
    let timing = server_timing(&answer, begun);
    let mut response = Json(answer).into_response();
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        response.headers_mut().insert("server-timing", timing);
    }
    Ok(response)
}

async fn predict_one(app: &App, model: &Model, image: Bytes, top_k: u32) -> Result<Prediction> {
    let prediction = app.inference().predict(model, image, top_k).await?;
    Ok(Prediction {
        object: "prediction",
        model: model.id,
        predictions: prediction.classes,
        timing_ms: prediction.timing,
    })
}

/// What is wrong with one image stands in its place; what is wrong with the server fails the request.
fn own_error(error: Error) -> Result<PredictionOrError> {
    match error.kind() {
        Kind::UnsupportedMedia | Kind::Invalid | Kind::TooLarge => {
            let error = ImageError {
                code: error.slug().to_owned(),
                message: error.detail().to_owned(),
            };
            Ok(PredictionOrError::Error(FailedPrediction {
                object: "error",
                error,
            }))
        }
        _ => Err(error),
    }
}

enum Images {
    One(Result<Bytes>),
    Several(Vec<Result<Bytes>>),
}

async fn read_images(app: &App, request: Request) -> Result<Images> {
    let limit = app.limits().max_predict_bytes;
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if kind.to_ascii_lowercase().starts_with("multipart/form-data") {
        return read_form(app, request).await;
    }
    let json = !kind.is_empty() && is_json(request.headers());
    let body = read_body(request.into_body(), limit).await?;
    if !json {
        return Ok(Images::One(Ok(body)));
    }
    let body: PredictBody = serde_json::from_slice(&body).map_err(|_| {
        Error::new(
            Kind::Malformed,
            "json-invalid",
            "the body must be JSON of the form {\"images\": [\"<base64>\", …]}",
        )
    })?;
    check_count(app, body.images.len())?;
    let decode = |text: String| {
        STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| Error::new(Kind::Invalid, "base64-invalid", "this is no valid base64"))
    };
    Ok(Images::Several(body.images.into_iter().map(decode).collect()))
}

async fn read_form(app: &App, request: Request) -> Result<Images> {
    let malformed = || Error::new(Kind::Malformed, "form-invalid", "the form cannot be read");
    let limit = app.limits().max_predict_bytes;
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| malformed())?;
    let mut images = Vec::new();
    let mut bytes = 0;
    while let Some(mut field) = form.next_field().await.map_err(|_| malformed())? {
        if field.name() != Some("file") {
            continue;
        }
        check_count(app, images.len() + 1)?;
        let mut image = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(|_| malformed())? {
            bytes += chunk.len();
            if bytes > limit {
                return Err(Error::new(
                    Kind::TooLarge,
                    "too-large",
                    format!("the body is larger than {limit} bytes"),
                ));
            }
            image.extend_from_slice(&chunk);
        }
        images.push(Ok(Bytes::from(image)));
    }
    match images.len() {
        0 => Err(Error::new(
            Kind::Malformed,
            "form-invalid",
            "the form has no field named `file`",
        )),
        1 => Ok(Images::One(images.remove(0))),
        _ => Ok(Images::Several(images)),
    }
}

fn check_count(app: &App, count: usize) -> Result<()> {
    let limit = app.limits().max_predict_images;
    if (1..=limit).contains(&count) {
        return Ok(());
    }
    let fault = FieldError::new("/images", "range", format!("must be 1 to {limit} images"));
    Err(Error::fields("the number of images is wrong", vec![fault]))
}

/// Server-Timing (W3C): the slowest image's parts, and the whole.
fn server_timing(answer: &Answer, begun: Instant) -> String {
    let timings: Vec<PredictionTiming> = match answer {
        Answer::One(prediction) => vec![prediction.timing_ms],
        Answer::Several(list) => {
            let timing = |outcome: &PredictionOrError| match outcome {
                PredictionOrError::Prediction(prediction) => Some(prediction.timing_ms),
                PredictionOrError::Error(_) => None,
            };
            list.data.iter().filter_map(timing).collect()
        }
    };
    let most = |part: fn(&PredictionTiming) -> f64| timings.iter().map(part).fold(0.0, f64::max);
    format!(
        "decode;dur={:.2}, queue;dur={:.2}, forward;dur={:.2}, total;dur={:.2}",
        most(|timing| timing.decode),
        most(|timing| timing.queue),
        most(|timing| timing.forward),
        begun.elapsed().as_secs_f64() * 1000.0
    )
}
