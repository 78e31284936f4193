//! What jobs found besides models: evaluations, comparisons, label checks, cross-validations and searches for a learning rate. The files are
//! answered as the worker wrote them.

use std::io::ErrorKind;

use axum::{
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};

use crate::{
    domain::{
        damage::Damaged,
        jobs::{
            comparison::Comparison,
            cross_validation::CrossValidation,
            evaluation::Evaluation,
            job::{Job, JobStatus},
            label_check::LabelCheck,
            lr_curve::LrCurve,
        },
        models::model::ModelSource,
        spec::JobKind,
    },
    error::{Error, Kind, Result},
    files::digest,
    http::{
        App,
        documentation::table::{Table, routes},
        responses::problem::Problems,
    },
};

/// The addresses of what jobs find, a line for each.
pub fn routes(table: Table) -> Table {
    table
        .routes(routes!(model_evaluation))
        .routes(routes!(job_evaluation))
        .routes(routes!(job_lr_find))
        .routes(routes!(job_comparison))
        .routes(routes!(job_label_check))
        .routes(routes!(job_cross_validation))
}

/// How good a model is on the validation images of its training
///
/// 404 `no-evaluation` where there were none. A job of kind `evaluate` measures a model on any labelled dataset.
#[utoipa::path(
    get, path = "/v1/models/{model}/evaluation", tag = "models",
    params(("model" = String, Path, description = "Id, alias, name (the newest) or name@version")),
    responses((status = 200, body = Evaluation), Problems)
)]
pub async fn model_evaluation(State(app): State<App>, Path(reference): Path<String>) -> Result<Response> {
    let model = app.store().model(&reference).await?;
    match app.store().model_blobs(model.id).await?.evaluation {
        Some(digest) => {
            file(
                &app,
                &digest,
                format!("the evaluation of the model `{reference}`"),
            )
            .await
        }
        None if model.source == ModelSource::Imported => Err(none(
            "no-evaluation",
            "the model was imported; a job of kind `evaluate` measures it on a labelled dataset",
        )),
        None if model.card.metrics.is_some_and(|metrics| metrics.val_images == 0) => Err(none(
            "no-evaluation",
            "the model was trained without validation images; a job of kind `evaluate` measures it on a labelled dataset",
        )),
        None => Err(none(
            "no-evaluation",
            "the model was made by a version that did not evaluate; a job of kind `evaluate` measures it on a labelled dataset",
        )),
    }
}

/// What an evaluation measured
///
/// Of a job of kind `evaluate`, or of a training: that of its model on its validation images. 404 `no-evaluation` where there is none.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/evaluation", tag = "jobs", params(("job" = String, Path, description = "Id, or the name of the newest")),
    responses((status = 200, body = Evaluation), Problems)
)]
pub async fn job_evaluation(State(app): State<App>, Path(reference): Path<String>) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    result(
        &app,
        &job,
        "no-evaluation",
        &[JobKind::Evaluate, JobKind::Train],
        "a training without validation images has no evaluation",
    )
    .await
}

/// What a search for a learning rate found
///
/// The loss of every step and suggestions. 404 `no-lr-find` where there is none.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/lr_find", tag = "jobs", params(("job" = String, Path, description = "Id, or the name of the newest")),
    responses((status = 200, body = LrCurve), Problems)
)]
pub async fn job_lr_find(State(app): State<App>, Path(reference): Path<String>) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    result(
        &app,
        &job,
        "no-lr-find",
        &[JobKind::LrFind],
        "the search left no curve",
    )
    .await
}

/// What a comparison of backbones measured
///
/// The most accurate backbone first. 404 `no-comparison` where there is none.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/comparison", tag = "jobs", params(("job" = String, Path, description = "Id, or the name of the newest")),
    responses((status = 200, body = Comparison), Problems)
)]
pub async fn job_comparison(State(app): State<App>, Path(reference): Path<String>) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    result(
        &app,
        &job,
        "no-comparison",
        &[JobKind::Compare],
        "the comparison left no table",
    )
    .await
}

/// Images whose labels are doubtful
///
/// The most doubtful first, each with its given class, the class that it looks like, how probable that is, and why it is listed. 404
/// `no-label-check` where there is none. `POST /v1/datasets/{dataset}/label_check/apply` makes the next version of the dataset out of it.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/label_check", tag = "jobs", params(("job" = String, Path, description = "Id, or the name of the newest")),
    responses((status = 200, body = LabelCheck), Problems)
)]
pub async fn job_label_check(State(app): State<App>, Path(reference): Path<String>) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    result(
        &app,
        &job,
        "no-label-check",
        &[JobKind::LabelCheck],
        "the label check left no list",
    )
    .await
}

/// What a cross-validation measured
///
/// The accuracy on every fold for every seed, and their mean with its 95 % interval. 404 `no-cross-validation` where there is none.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/cross_validation", tag = "jobs",
    params(("job" = String, Path, description = "Id, or the name of the newest")),
    responses((status = 200, body = CrossValidation), Problems)
)]
pub async fn job_cross_validation(State(app): State<App>, Path(reference): Path<String>) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    result(
        &app,
        &job,
        "no-cross-validation",
        &[JobKind::CrossValidate],
        "the cross-validation left no scores",
    )
    .await
}

/// The list of a label check that has succeeded.
///
/// # Errors
/// `data-damaged`
pub(in crate::http) async fn label_check(app: &App, job: &Job) -> Result<LabelCheck> {
    let digest = app.store().job_result(job.id).await?;
    let digest = digest.ok_or_else(|| none("no-label-check", "the label check left no list"))?;
    let json = sound(app, &digest, format!("the result of the job `{}`", job.id)).await?;
    serde_json::from_slice(&json).map_err(Error::internal)
}

async fn result(
    app: &App,
    job: &Job,
    slug: &'static str,
    kinds: &[JobKind],
    nothing: &str,
) -> Result<Response> {
    if !kinds.contains(&job.kind) {
        let message = format!("a job of kind `{}` has no such result", job.kind.as_str());
        return Err(none(slug, message));
    }
    match app.store().job_result(job.id).await? {
        Some(digest) => file(app, &digest, format!("the result of the job `{}`", job.id)).await,
        None if job.status == JobStatus::Succeeded => Err(none(slug, nothing)),
        None if job.status.is_end() => Err(none(slug, "the job ended without a result")),
        None => Err(none(
            slug,
            "the job has not ended; GET /v1/jobs/{job}?wait=60 waits for it",
        )),
    }
}

fn none(slug: &'static str, detail: impl Into<String>) -> Error {
    Error::new(Kind::NotFound, slug, detail)
}

async fn file(app: &App, sha256: &str, what: String) -> Result<Response> {
    let json = sound(app, sha256, what).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// The contents of a file, verified.
async fn sound(app: &App, sha256: &str, what: String) -> Result<Vec<u8>> {
    let json = match tokio::fs::read(app.blobs().path(sha256)).await {
        Err(error) if error.kind() == ErrorKind::NotFound || digest::is_lost(&error) => Vec::new(),
        json => json?,
    };
    if digest::of_bytes(&json) != sha256 {
        return Err(Damaged::new(what).into());
    }
    Ok(json)
}
