//! `/v1/models/{model}/embeddings`: an image in, its feature vector out.

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::images::{self, FailedImage, ImagesBody};
use crate::{
    domain::{id::ModelId, models::prediction::PredictionTiming},
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
/// Images are sent as for a prediction. Images that look alike to the model have vectors that are close: for search, for clustering,
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
    let normalize = query.normalize.unwrap_or(false);
    images::answer(&app, &reference, request, async |model, image| {
        let found = app.inference().embed(&model, image, normalize).await?;
        Ok(Embedding {
            object: "embedding",
            model: model.id,
            embedding: found.values,
            timing_ms: found.timing,
        })
    })
    .await
}

impl images::Answer for Embedding {
    type Body = EmbeddingAnswer;

    fn timing(&self) -> PredictionTiming {
        self.timing_ms
    }

    fn one(self) -> EmbeddingAnswer {
        EmbeddingAnswer::One(self)
    }

    fn several(answers: Vec<Result<Self, FailedImage>>) -> EmbeddingAnswer {
        let of_each = |answer: Result<Self, _>| {
            answer.map_or_else(EmbeddingOrError::Error, EmbeddingOrError::Embedding)
        };
        EmbeddingAnswer::Several(Embeddings {
            object: "list",
            data: answers.into_iter().map(of_each).collect(),
        })
    }
}
