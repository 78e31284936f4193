//! `/v1/jobs`: submit, get, cancel, delete, and read the log.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    expectation,
    submission::{self, Submission},
};
use crate::{
    domain::{
        datasets::dataset::Dataset,
        id::JobId,
        jobs::{
            expected::Expected,
            job::{DatasetVersion, Job, JobStatus, Progress},
        },
        page::{Order, Page},
        spec::Spec,
        tag::Tag,
    },
    error::Result,
    files::digest,
    http::{
        App,
        access::{Allowed, check_job},
        datasets::dataset::WaitQuery,
        repeats::idempotency_key,
        requests::{
            extract::{JsonBody, PageLimit, PageQuery, Query},
            precondition, trace, waiting,
            whole::Whole,
        },
        responses::problem::Problems,
    },
    store::{CreatedJob, JobFilter, JobKey, NewJob, Topic},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubmitQuery {
    /// Only validate the spec, and return it with its defaults filled in; of a training also the memory and the time that it would need.
    dry_run: Option<bool>,
}

/// Submit a job
///
/// The smallest spec is `{"dataset": "flowers"}`, of kind `train`. A job of kind `evaluate` evaluates a model on a labelled dataset,
/// `lr_find` finds a learning rate for a training job, and `batch-predict` classifies the images of a dataset; none of these creates a
/// model. The dataset may still be processing: the job waits for it. With the header `Idempotency-Key`, a repeated request does not create
/// a second job; if the job has been deleted, it gets 410 `job-deleted`.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", params(SubmitQuery),
    request_body = crate::http::requests::schemas::JobRequest,
    responses(
        (status = 201, body = Job, headers(("location" = String))),
        (status = 200, description = "`dry_run`: the resolved spec", body = CheckedSpec),
        Problems
    )
)]
pub async fn submit(
    State(app): State<App>,
    Query(query): Query<SubmitQuery>,
    allowed: Allowed,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response> {
    let dry_run = query.dry_run == Some(true);
    let key = idempotency_key(&headers, allowed.owner().as_ref())?.map(|key| JobKey {
        key,
        sha256: digest::of_bytes(&body.bytes),
    });
    // Before anything that may have changed since the first request, such as its dataset.
    if let Some(key) = key.as_ref().filter(|_| !dry_run)
        && let Some(id) = app.store().repeated_job(key).await?
    {
        check_job(&app, &allowed, &app.store().job(&id.to_string()).await?).await?;
        return submitted(&app, id).await;
    }
    let Submission { spec, name, dataset } = submission::check(&app, &allowed, &body.value).await?;
    if dry_run {
        return dry_run_answer(&app, spec, &dataset).await;
    }
    app.check_disk(0)?;
    let new = NewJob {
        name,
        dataset: DatasetVersion {
            id: dataset.id,
            version: dataset.version,
            content_sha256: dataset.content_sha256,
        },
        owner: allowed.owner(),
        max_queued: app.limits().max_queued_jobs,
        key,
        trace: trace::parent(&headers),
        spec,
    };
    let (CreatedJob::Created(id) | CreatedJob::Repeated(id)) = app.store().create_job(new).await?;
    submitted(&app, id).await
}

/// The answer to a dry run: the resolved spec, and what a training would need.
#[derive(Serialize, ToSchema)]
pub struct CheckedSpec {
    #[serde(flatten)]
    spec: Spec,
    /// Only of a training whose dataset has been read, without `domain_adaptation` and `distill`, whose needs are not estimated. It is ignored
    /// where the spec is sent back.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Expected>,
}

async fn dry_run_answer(app: &App, spec: Spec, dataset: &Dataset) -> Result<Response> {
    let expected = match &spec {
        Spec::Train(training) => expectation::of(app, training, dataset).await?,
        _ => None,
    };
    Ok(Json(CheckedSpec { spec, expected }).into_response())
}

async fn submitted(app: &App, id: JobId) -> Result<Response> {
    let job = shown(app, app.store().job(&id.to_string()).await?);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/jobs/{id}"))],
        Json(job),
    )
        .into_response())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobsQuery {
    /// 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<PageLimit>,
    /// Id of the last job of the previous page.
    after: Option<String>,
    /// `desc` (newest first) or `asc`.
    #[param(inline)]
    order: Option<Order>,
    #[param(inline)]
    status: Option<JobStatus>,
    /// Id or name of a dataset.
    dataset: Option<String>,
    /// Name of the job, which is the name of the model that it trains, evaluates or predicts with.
    name: Option<String>,
    /// Only those of a key, by its name or id; `none`: those that were submitted without one.
    owner: Option<String>,
}

/// List jobs
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", params(JobsQuery), responses((status = 200, body = Page<Job>), Problems))]
pub async fn list(State(app): State<App>, Query(query): Query<JobsQuery>) -> Result<Json<Page<Job>>> {
    let page = PageQuery {
        limit: query.limit,
        after: query.after,
        order: query.order,
    }
    .check();
    let dataset = match &query.dataset {
        // An id also finds the jobs of a deleted dataset.
        Some(reference) => Some(match reference.parse() {
            Ok(id) => id,
            Err(_) => app.store().dataset(reference).await?.id,
        }),
        None => None,
    };
    let filter = JobFilter {
        status: query.status,
        dataset,
        name: query.name,
        owner: query.owner,
    };
    let mut jobs = app.store().jobs(&filter, &page).await?;
    jobs.data = jobs.data.into_iter().map(|job| shown(&app, job)).collect();
    Ok(Json(jobs))
}

/// Get a job
#[utoipa::path(
    get, path = "/v1/jobs/{job}", tag = "jobs", params(
        ("job" = String, Path, description = "Id, or the name of the newest"), WaitQuery,
        ("if-none-match" = Option<String>, Header, description = "304 if this is its ETag")
    ),
    responses(
        (status = 200, body = Job, headers(("etag" = String))),
        (status = 304, description = "It is as the client has it", headers(("etag" = String))),
        Problems
    )
)]
pub async fn get(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    let changed = app.store().signals().subscribe(Topic::Job(job.id));
    let id = job.id.to_string();
    let ended = |job: &Job| job.status.is_end();
    let job = waiting::until(
        changed,
        query.wait.map(Whole::get),
        app.stopping(),
        || app.store().job(&id),
        ended,
    )
    .await?;
    let job = shown(&app, job);
    precondition::shown(&headers, None, &job)
}

/// What a change of a job holds to. Its place in the line is shown, but it is no state of the job.
fn seen(app: &App, headers: &HeaderMap, job: &Job) -> Result<Option<Tag>> {
    let stored = Job {
        queue_position: None,
        ..job.clone()
    };
    precondition::seen(headers, &shown(app, job.clone()), &stored)
}

/// A job with what it is currently waiting for, which only the running server knows.
fn shown(app: &App, mut job: Job) -> Job {
    if job.status == JobStatus::Running
        && let Some(waiting) = app.jobs().waiting_for(&job.id)
    {
        job.progress.get_or_insert(Progress::NONE).waiting = Some(waiting);
    }
    job
}

/// Cancel a job
///
/// A queued job is cancelled at once; a running one when its worker has stopped.
#[utoipa::path(
    post, path = "/v1/jobs/{job}/cancel", tag = "jobs",
    params(("job" = String, Path), ("if-match" = Option<String>, Header, description = "Only if this is its ETag")),
    responses((status = 200, description = "The job is cancelled", body = Job), (status = 202, description = "The job is being stopped", body = Job), Problems)
)]
pub async fn cancel(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    let seen = seen(&app, &headers, &job)?;
    app.store().cancel_job(job.id, seen).await?;
    let job = shown(&app, app.store().job(&job.id.to_string()).await?);
    let status = if job.status.is_end() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(job)).into_response())
}

/// Delete an ended job with its events, log and results; its model is kept
#[utoipa::path(
    delete, path = "/v1/jobs/{job}", tag = "jobs",
    params(("job" = String, Path), ("if-match" = Option<String>, Header, description = "Only if this is its ETag")),
    responses((status = 204), Problems)
)]
pub async fn delete(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let job = app.store().job(&reference).await?;
    let seen = seen(&app, &headers, &job)?;
    app.store().delete_job(job.id, seen).await?;
    app.jobs().sweep_soon();
    Ok(StatusCode::NO_CONTENT)
}

type Lines = Whole<1, 100_000>;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// Only this many of the last lines.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 100_000)]
    tail: Option<Lines>,
}

/// Get a job's log
#[utoipa::path(
    get, path = "/v1/jobs/{job}/logs", tag = "jobs", params(("job" = String, Path), LogsQuery),
    responses((status = 200, body = String, content_type = "text/plain"), Problems)
)]
pub async fn logs(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    let bytes = match tokio::fs::read(app.jobs().log_path(job.id)).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let shown = match query.tail.map(Whole::get::<usize>) {
        Some(count) => {
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            lines[lines.len().saturating_sub(count)..].concat()
        }
        None => text.into_owned(),
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], shown).into_response())
}
