//! `/v1/models/{model}/embeddings`: an image in, its feature vector out.

use std::time::Instant;

use axum::{
    body::Bytes,
    extract::{Path, Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::images::{self, FailedImage, Images, ImagesBody, answered};
use crate::{
    domain::{
        id::ModelId,
        models::{model::Model, prediction::PredictionTiming},
    },
    error::Result,
    http::{App, requests::extract::Query, responses::problem::Problems},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EmbeddingQuery {
    /// Divide the vector by its Euclidean length, so that the product of two is the cosine of their angle.
    #[param(default = false)]
    normalize: Option<bool>,
}

/// The feature vector of an image: what the network's last layer sees of it.
#[derive(Serialize, ToSchema)]
pub struct Embedding {
    /// Always `embedding`.
    #[schema(example = "embedding")]
    object: &'static str,
    model: ModelId,
    /// As many numbers as the architecture has features.
    embedding: Vec<f32>,
    timing_ms: PredictionTiming,
}

/// What came of one of several images.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum EmbeddingOrError {
    Embedding(Embedding),
    Error(FailedImage),
}

/// Feature vectors in the order of the images.
#[derive(Serialize, ToSchema)]
pub struct Embeddings {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<EmbeddingOrError>,
}

/// One image as it was sent, or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum EmbeddingAnswer {
    One(Embedding),
    Several(Embeddings),
}

/// Feature vectors of images
///
/// Images are sent as for a prediction. Pictures that look alike to the model have vectors that are close: for search, for clustering,
/// for a classifier of one's own.
#[utoipa::path(
    post, path = "/v1/models/{model}/embeddings", tag = "models",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version"), EmbeddingQuery),
    request_body(content(("application/octet-stream"), ("multipart/form-data"), (ImagesBody = "application/json"))),
    responses((status = 200, body = EmbeddingAnswer, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn embeddings_post(
    app: State<App>,
    model: Path<String>,
    query: Query<EmbeddingQuery>,
    request: Request,
) -> Result<Response> {
    embeddings(app, model, query, request).await
}

/// Feature vector of an image, as `curl -T` sends it
#[utoipa::path(
    put, path = "/v1/models/{model}/embeddings", tag = "models",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version"), EmbeddingQuery),
    request_body(content(("application/octet-stream"))),
    responses((status = 200, body = EmbeddingAnswer, headers(("server-timing" = String), ("model-id" = String))), Problems)
)]
pub async fn embeddings_put(
    app: State<App>,
    model: Path<String>,
    query: Query<EmbeddingQuery>,
    request: Request,
) -> Result<Response> {
    embeddings(app, model, query, request).await
}

async fn embeddings(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<EmbeddingQuery>,
    request: Request,
) -> Result<Response> {
    let begun = Instant::now();
    let normalize = query.normalize.unwrap_or(false);
    let model = images::model(&app, &reference).await?;
    match images::read(&app, request).await? {
        Images::One(image) => {
            let answer = embed_one(&app, &model, image?, normalize).await?;
            let timing = [answer.timing_ms];
            Ok(answered(begun, &model, &timing, EmbeddingAnswer::One(answer)))
        }
        Images::Several(images) => {
            let data = images::each(images, |image| embed_one(&app, &model, image, normalize)).await?;
            let timings: Vec<_> = data.iter().flatten().map(|answer| answer.timing_ms).collect();
            let data = data.into_iter().map(|outcome| match outcome {
                Ok(embedding) => EmbeddingOrError::Embedding(embedding),
                Err(error) => EmbeddingOrError::Error(error),
            });
            let data = data.collect();
            let answer = EmbeddingAnswer::Several(Embeddings { object: "list", data });
            Ok(answered(begun, &model, &timings, answer))
        }
    }
}

async fn embed_one(app: &App, model: &Model, image: Bytes, normalize: bool) -> Result<Embedding> {
    let found = app.inference().embed(model, image, normalize).await?;
    Ok(Embedding {
        object: "embedding",
        model: model.id,
        embedding: found.values,
        timing_ms: found.timing,
    })
}
