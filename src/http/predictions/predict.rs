//! `/v1/models/{model}/predict`: classifies images, sent as a file, as a form with files, or as JSON with base64.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::images::{self, FailedImage, ImagesBody};
use crate::{
    domain::{
        id::ModelId,
        models::{
            model::Model,
            prediction::{ClassProbability, PredictionTiming},
            tasks::parts_of,
        },
        spec::Task,
    },
    error::Result,
    http::{
        App,
        requests::{extract::Query, whole::Whole},
        responses::problem::Problems,
    },
};

type TopK = Whole<1, 1000>;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PredictQuery {
    /// Most classes to return, 1 to 1000. A model of several labels or tasks returns all that the image shows, even if they are
    /// more.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 5)]
    top_k: Option<TopK>,
}

/// The prediction for an image.
#[derive(Serialize, ToSchema)]
pub struct Prediction {
    /// Always `prediction`.
    #[schema(example = "prediction")]
    object: &'static str,
    model: ModelId,
    /// The most likely classes, in descending order of probability; of a model of several labels or tasks, `predicted` says which ones
    /// the image shows.
    predictions: Vec<ClassProbability>,
    /// Only of a model of several tasks: the likeliest answer to each, by the task's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!({"colour": "red"}))]
    answers: Option<BTreeMap<String, String>>,
    timing_ms: PredictionTiming,
}

/// The result for one of several images.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum PredictionOrError {
    Prediction(Prediction),
    Error(FailedImage),
}

/// Predictions, in the order of the images.
#[derive(Serialize, ToSchema)]
pub struct Predictions {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<PredictionOrError>,
}

/// The response for one image, or for several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Answer {
    One(Prediction),
    Several(Predictions),
}

/// Classify images
///
/// The body is an image file (`curl -T cat.jpg`), a form with one or more files, whatever their fields are called, or JSON `{"images": ["<base64>"]}`. One image as
/// the body or in a form returns one prediction. Several images, or JSON, return a list, in which an invalid image does not affect the
/// others.
#[utoipa::path(
    post, path = "/v1/models/{model}/predict", tag = "models",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version"), PredictQuery),
    request_body(content(("application/octet-stream"), ("multipart/form-data"), (ImagesBody = "application/json"))),
    responses((status = 200, body = Answer, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn predict_post(
    app: State<App>,
    model: Path<String>,
    query: Query<PredictQuery>,
    request: Request,
) -> Result<Response> {
    predict(app, model, query, request).await
}

/// Classify an image, with `curl -T`
#[utoipa::path(
    put, path = "/v1/models/{model}/predict", tag = "models",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version"), PredictQuery),
    request_body(content(("application/octet-stream"))),
    responses((status = 200, body = Answer, headers(("server-timing" = String), ("model-id" = String))), Problems)
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
    let top_k = query.top_k.map_or(5, Whole::get);
    images::answer(&app, &reference, request, async |model, image| {
        let prediction = app.inference().predict(&model, image, top_k).await?;
        Ok(Prediction {
            object: "prediction",
            model: model.id,
            answers: answers(&model, &prediction.classes),
            predictions: prediction.classes,
            timing_ms: prediction.timing,
        })
    })
    .await
}

/// The likeliest answer to each task of the model, if it has several.
fn answers(model: &Model, classes: &[ClassProbability]) -> Option<BTreeMap<String, String>> {
    let predicted = classes.iter().filter(|class| class.predicted == Some(true));
    let answers = predicted.filter_map(|class| parts_of(&class.label));
    let answers = answers.map(|(task, answer)| (task.to_owned(), answer.to_owned()));
    (model.card.task == Task::MultiTask).then(|| answers.collect())
}

impl images::Answer for Prediction {
    type Body = Answer;

    fn timing(&self) -> PredictionTiming {
        self.timing_ms
    }

    fn one(self) -> Answer {
        Answer::One(self)
    }

    fn several(answers: Vec<Result<Self, FailedImage>>) -> Answer {
        let of_each = |answer: Result<Self, _>| {
            answer.map_or_else(PredictionOrError::Error, PredictionOrError::Prediction)
        };
        Answer::Several(Predictions {
            object: "list",
            data: answers.into_iter().map(of_each).collect(),
        })
    }
}
