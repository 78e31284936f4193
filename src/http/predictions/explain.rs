//! `/v1/models/{model}/explain`: a heat map over an image that shows where the model sees a class.

use std::time::Instant;

use axum::{
    extract::{Path, Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::images::{self, Images, timed};
use crate::{
    domain::{architecture::HeadKind, models::model::Model},
    error::{Error, FieldError, Kind, Result},
    http::{App, requests::extract::Query, responses::problem::Problems},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// Name or index of the class to explain; by default the most likely one.
    class: Option<String>,
}

/// Explain a prediction
///
/// Returns a PNG of the image as the network sees it, overlaid with how much each region contributes to the class, from yellow to red
/// (Grad-CAM, Selvaraju et al. 2017). The headers `class-index` and `class-probability` give the class. The body is one image file, or a
/// form with one file.
#[utoipa::path(
    post, path = "/v1/models/{model}/explain", tag = "models",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version"), ExplainQuery),
    request_body(content(("application/octet-stream"), ("multipart/form-data"))),
    responses((
        status = 200, content_type = "image/png", body = Vec<u8>,
        headers(("server-timing" = String), ("model-id" = String), ("class-index" = u32), ("class-probability" = f64))
    ), Problems)
)]
pub async fn explain_post(
    app: State<App>,
    model: Path<String>,
    query: Query<ExplainQuery>,
    request: Request,
) -> Result<Response> {
    explain(app, model, query, request).await
}

/// Explain a prediction, with `curl -T`
#[utoipa::path(
    put, path = "/v1/models/{model}/explain", tag = "models",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version"), ExplainQuery),
    request_body(content(("application/octet-stream"))),
    responses((
        status = 200, content_type = "image/png", body = Vec<u8>,
        headers(("server-timing" = String), ("model-id" = String), ("class-index" = u32), ("class-probability" = f64))
    ), Problems)
)]
pub async fn explain_put(
    app: State<App>,
    model: Path<String>,
    query: Query<ExplainQuery>,
    request: Request,
) -> Result<Response> {
    explain(app, model, query, request).await
}

async fn explain(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<ExplainQuery>,
    request: Request,
) -> Result<Response> {
    let begun = Instant::now();
    let model = images::model(&app, &reference).await?;
    if model.card.head.kind() == Some(HeadKind::Knn) {
        let detail = "the model's head is of kind `knn`: which images are nearest does not change with small changes of an image, so there is \
                      nothing to explain; models with another head can be explained";
        return Err(Error::new(Kind::Invalid, "not-supported", detail));
    }
    let class = query.class.map(|class| index_of(&model, &class)).transpose()?;
    let Images::One(image) = images::read(&app, request).await? else {
        let detail = "send one image: as the body, or as the only file of a form";
        return Err(Error::new(Kind::Malformed, "one-image", detail));
    };
    let explanation = app.inference().explain(&model, image?, class).await?;
    let timing = [explanation.timing];
    let mut response = timed(begun, &model, &timing, explanation.png.into_response());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
    headers.insert("class-index", HeaderValue::from(explanation.class.index));
    if let Ok(probability) = HeaderValue::from_str(&explanation.class.probability.to_string()) {
        headers.insert("class-probability", probability);
    }
    Ok(response)
}

/// A class name may be a number, so names take precedence over indices.
fn index_of(model: &Model, class: &str) -> Result<u32> {
    let classes = &model.card.classes;
    let named = classes.iter().position(|name| name == class);
    let place = named.or_else(|| class.parse().ok().filter(|index| *index < classes.len()));
    place.map(|index| index as u32).ok_or_else(|| {
        let message = format!("the model has no such class; it has {}", classes.join(", "));
        let message: String = message.chars().take(500).collect();
        Error::fields(
            "the query is invalid",
            vec![FieldError::new("/class", "unknown", &message)],
        )
    })
}
