//! `/v1/models/{model}/embeddings`: the feature vector of an image.

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
    /// Divide the vector by its Euclidean norm, so that the dot product of two is their cosine similarity.
    #[param(default = false)]
    normalize: Option<bool>,
}

/// The feature vector of an image: the input of the network's last layer.
#[derive(Serialize, ToSchema)]
pub struct Embedding {
    /// Always `embedding`.
    #[schema(example = "embedding")]
    object: &'static str,
    model: ModelId,
    /// The vector; its length is the architecture's number of features.
    embedding: Vec<f32>,
    timing_ms: PredictionTiming,
}

/// The result for one of several images.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum EmbeddingOrError {
    Embedding(Embedding),
    Error(FailedImage),
}

/// Feature vectors, in the order of the images.
#[derive(Serialize, ToSchema)]
pub struct Embeddings {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<EmbeddingOrError>,
}

/// The response for one image, or for several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum EmbeddingAnswer {
    One(Embedding),
    Several(Embeddings),
}

/// Compute embeddings
///
/// Images are sent as for a prediction. Images that look similar to the model have similar vectors, for search, clustering, or training
/// another classifier.
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

/// Compute an embedding, with `curl -T`
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
