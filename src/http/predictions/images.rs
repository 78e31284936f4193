//! Images in requests and their results: shared by predictions, embeddings and explanations.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Bytes,
    extract::Request,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    domain::models::{model::Model, prediction::PredictionTiming},
    error::{Error, FieldError, Kind, Result},
    http::{
        App,
        requests::{
            base64_text,
            extract::{is_json, read_body},
            form::{self, Form},
            json,
        },
    },
    inference::{ModelInput, Prediction},
};

/// Images as JSON.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesBody {
    /// Image files in base64, with or without padding and line ends, also as data URLs.
    #[schema(min_items = 1, max_items = 64)]
    images: Vec<String>,
}

/// An image of several that failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedImage {
    /// Always `error`.
    #[schema(example = "error")]
    object: &'static str,
    error: ImageError,
}

/// What is wrong with an image.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImageError {
    /// The slug that a problem's `type` ends with.
    code: String,
    message: String,
}

/// The images of a request; if there are several, an invalid one is an error in its place.
pub enum Images {
    One(Result<Bytes>),
    Several(Vec<Result<Bytes>>),
}

/// The requested model. If the queue is full, nothing is looked up: under overload, a refusal must be cheap.
///
/// # Errors
/// Those of [`Inference::has_room`](crate::inference::Inference::has_room), and `not-found`.
pub async fn model(app: &App, reference: &str) -> Result<Model> {
    app.inference().has_room()?;
    app.store().model(reference).await
}

/// Reads the body: an image file, a form with files, or JSON with base64.
///
/// # Errors
/// The body cannot be read, or the queue is full: then the body is discarded, whatever its size.
pub async fn read(app: &App, request: Request) -> Result<Images> {
    let limit = app.limits().max_predict_bytes;
    app.inference().has_room()?;
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if form::is_announced(request.headers()) {
        return read_form(app, request).await;
    }
    let is_json = !kind.is_empty() && is_json(request.headers());
    let body = read_body(request.into_body(), limit).await?;
    if !is_json {
        return Ok(Images::One(Ok(body)));
    }
    let body: ImagesBody = json::parse_as(&body, "of the form {\"images\": [\"<base64>\", …]}")?;
    check_count(app, body.images.len())?;
    let images = body.images.iter().enumerate();
    Ok(Images::Several(
        images
            .map(|(index, text)| decoded(&format!("images[{index}]"), text))
            .collect(),
    ))
}

/// The image file in a text. `place` is where the text stands in the request's JSON.
///
/// # Errors
/// `base64-invalid` (422).
pub fn decoded(place: &str, text: &str) -> Result<Bytes> {
    base64_text::decode(text).map(Bytes::from).map_err(|reason| {
        let detail = format!("`{place}` is not base64: {reason}");
        Error::new(Kind::Invalid, "base64-invalid", detail)
    })
}

async fn read_form(app: &App, request: Request) -> Result<Images> {
    let limit = app.limits().max_predict_bytes;
    let mut form = Form::of(request, app.limits().upload_idle()).await?;
    let mut images = Vec::new();
    let mut texts = Vec::new();
    let mut bytes = 0;
    while let Some(mut field) = form.next().await? {
        if !field.is_file() {
            texts.push(field.shown());
            continue;
        }
        check_count(app, images.len() + 1)?;
        let mut image = Vec::new();
        while let Some(chunk) = field.chunk().await? {
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
        0 => Err(form::without_file(&texts, "`curl -F file=@rose.jpg`")),
        1 => Ok(Images::One(images.remove(0))),
        _ => Ok(Images::Several(images)),
    }
}

fn check_count(app: &App, count: usize) -> Result<()> {
    check_count_of(app, "/images", count)
}

/// Checks the number of images, which are at `pointer` in the request.
///
/// # Errors
/// `invalid` (422).
pub fn check_count_of(app: &App, pointer: &str, count: usize) -> Result<()> {
    let limit = app.limits().max_predict_images;
    if (1..=limit).contains(&count) {
        return Ok(());
    }
    let fault = FieldError::new(pointer, "range", format!("must have 1 to {limit} images"));
    Err(Error::fields("the number of images is invalid", vec![fault]))
}

/// A model's result for an image, as a part of the response.
pub trait Answer: Sized {
    /// The body of the response.
    type Body: Serialize;

    fn timing(&self) -> PredictionTiming;

    /// The body for a request with a single image.
    fn one(self) -> Self::Body;

    /// The body for several images, in their order.
    fn several(answers: Vec<Result<Self, FailedImage>>) -> Self::Body;
}

/// Responds to a request about the images in its body: calls `ask` for each of them.
///
/// # Errors
/// Those of [`model`], [`read`] and `ask`.
pub async fn answer<T: Answer, F>(
    app: &App,
    reference: &str,
    request: Request,
    ask: impl Fn(Arc<Model>, Bytes) -> F,
) -> Result<Response>
where
    F: Future<Output = Result<T>>,
{
    let begun = Instant::now();
    let model = Arc::new(model(app, reference).await?);
    match read(app, request).await? {
        Images::One(image) => {
            let answer = ask(model.clone(), image?).await?;
            let timing = [answer.timing()];
            Ok(answered(begun, &model, &timing, answer.one()))
        }
        Images::Several(images) => {
            let answers = each(images, |image| ask(model.clone(), image)).await?;
            let timings: Vec<_> = answers.iter().flatten().map(Answer::timing).collect();
            Ok(answered(begun, &model, &timings, T::several(answers)))
        }
    }
}

/// Asks about all images concurrently; the results are in the order of the images.
///
/// # Errors
/// An error of one image is its result; an error of the server fails the request.
async fn each<T, F>(
    images: Vec<Result<Bytes>>,
    ask: impl Fn(Bytes) -> F,
) -> Result<Vec<Result<T, FailedImage>>>
where
    F: Future<Output = Result<T>>,
{
    let asked = images.into_iter().map(|image| async { ask(image?).await });
    let outcomes = join_all(asked).await.into_iter();
    outcomes
        .map(|outcome| match outcome {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => own_error(error).map(Err),
        })
        .collect()
}

fn own_error(error: Error) -> Result<FailedImage> {
    match error.kind() {
        Kind::UnsupportedMedia | Kind::Invalid | Kind::TooLarge => Ok(FailedImage {
            object: "error",
            error: ImageError {
                code: error.slug().to_owned(),
                message: error.detail().to_owned(),
            },
        }),
        _ => Err(error),
    }
}

/// The prediction of every image, with the probabilities of all classes. A request fails as a whole; if one of several images is invalid,
/// the message names it, as `what` and its index.
///
/// # Errors
/// Those of [`Inference::predict`](crate::inference::Inference::predict).
pub async fn all_predictions(
    app: &App,
    model: &Model,
    inputs: &[ModelInput],
    what: &str,
) -> Result<Vec<Prediction>> {
    let classes = model.card.classes.len() as u32;
    let asked = inputs.iter().enumerate().map(|(index, input)| async move {
        let prediction = app.inference().predict(model, input.clone(), classes).await;
        prediction.map_err(|error| error_of(what, index, error))
    });
    try_join_all(asked).await
}

/// The error of one image in a request that fails as a whole.
pub fn error_of(what: &str, index: usize, error: Error) -> Error {
    match error.kind() {
        Kind::UnsupportedMedia | Kind::Invalid | Kind::TooLarge => {
            let detail = format!("{what} {index}: {}", error.detail());
            Error::new(error.kind(), error.slug(), detail)
        }
        _ => error,
    }
}

/// The probabilities in the order of the model's classes; the prediction must have all of them.
pub fn in_order_of_classes(prediction: &Prediction) -> Vec<f32> {
    let mut row = vec![0.0; prediction.classes.len()];
    for class in &prediction.classes {
        if let Some(place) = row.get_mut(class.index as usize) {
            *place = class.probability as f32;
        }
    }
    row
}

/// JSON with Server-Timing (W3C): the timings of the slowest image, and the total. Also sets the id of the model, which an alias does not
/// give.
pub fn answered(
    begun: Instant,
    model: &Model,
    timings: &[PredictionTiming],
    answer: impl Serialize,
) -> Response {
    timed(begun, model, timings, Json(answer))
}

/// As [`answered`], for any response.
pub fn timed(
    begun: Instant,
    model: &Model,
    timings: &[PredictionTiming],
    answer: impl IntoResponse,
) -> Response {
    let most = |part: fn(&PredictionTiming) -> f64| timings.iter().map(part).fold(0.0, f64::max);
    let timing = format!(
        "decode;dur={:.2}, queue;dur={:.2}, forward;dur={:.2}, total;dur={:.2}",
        most(|timing| timing.decode),
        most(|timing| timing.queue),
        most(|timing| timing.forward),
        begun.elapsed().as_secs_f64() * 1000.0
    );
    let mut response = answer.into_response();
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        response.headers_mut().insert("server-timing", timing);
    }
    if let Ok(id) = HeaderValue::from_str(&model.id.to_string()) {
        response.headers_mut().insert("model-id", id);
    }
    response
}
