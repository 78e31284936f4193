//! Health, readiness, and the state of the server.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, responses::problem::Problems};
use crate::{
    domain::{id::JobId, time::Timestamp},
    error::{Error, Kind, Result},
    limits::Limits,
    process::{
        cgroup::{self, WorkerLimits},
        sandbox::{Mode, Support},
    },
};

/// With less free space than this beyond the reserve, the disk counts as full.
const NEARLY_FULL: u64 = 1 << 20;

/// Liveness.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// The state of the server.
#[derive(Serialize, ToSchema)]
pub struct System {
    /// Always `system`.
    #[schema(example = "system")]
    object: &'static str,
    version: &'static str,
    /// Empty just after the start, until the worker program has listed its devices.
    devices: Vec<SystemDevice>,
    /// Where predictions are computed.
    predictions: SystemPredictions,
    queued_jobs: u64,
    running_jobs: u64,
    /// Free space on the data directory's disk.
    free_bytes: u64,
    /// How long what ended jobs leave is kept.
    retention: Retention,
    /// Datasets that no job and no model has used, as counted within the last hour. Nothing removes them but a `DELETE`.
    unused_datasets: Unused,
    sandbox: SystemSandbox,
    worker_limits: WorkerLimits,
    limits: Limits,
}

/// How long what ended jobs leave is kept: a time such as `90d`, or `forever`.
#[derive(Serialize, ToSchema)]
pub struct Retention {
    /// Jobs with their events, logs and results; those whose model is there stay.
    #[schema(example = "forever")]
    keep_runs: String,
    /// Events of single steps.
    #[schema(example = "30d")]
    keep_events: String,
    /// Checkpoints of ended jobs.
    #[schema(example = "0s")]
    keep_checkpoints: String,
    /// Messages to webhooks that were delivered or given up.
    #[schema(example = "30d")]
    keep_deliveries: String,
}

/// Datasets that nothing uses. `finetuned gc --dry-run` lists them.
#[derive(Serialize, ToSchema)]
pub struct Unused {
    count: u64,
    /// Of their archives, and of images that were added.
    bytes: u64,
}

/// How the processes that read uploaded files are confined: `--sandbox`, and what this kernel offers.
#[derive(Serialize, ToSchema)]
pub struct SystemSandbox {
    /// `auto`, `require` or `off`. (Not listed as values: readers of YAML 1.1 take the last one for `false`.)
    #[schema(value_type = String, example = "auto")]
    mode: Mode,
    #[serde(flatten)]
    support: Support,
}

/// A device and the job that runs on it.
#[derive(Serialize, ToSchema)]
pub struct SystemDevice {
    /// `cpu` or `cuda:N`.
    name: String,
    description: String,
    threads: u32,
    memory_bytes: u64,
    job: Option<JobId>,
    /// Since when it has failed and gets no jobs; it is tried again by itself. Null if it works.
    failed_since: Option<Timestamp>,
}

/// Where predictions are computed.
#[derive(Serialize, ToSchema)]
pub struct SystemPredictions {
    /// `cpu` or `cuda:N`; null before the first prediction.
    device: Option<String>,
    /// The GPU that could not be used, which is tried again every ten minutes; null where nothing stands in for one.
    instead_of: Option<String>,
}

/// Liveness; does not touch the disk
#[utoipa::path(get, path = "/healthz", tag = "system", responses((status = 200, body = Health), Problems))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Readiness: the disk has room, the database is writable, and the server is not stopping
///
/// Predictions still work when the disk is full; for those, use `/v2/health/ready`.
#[utoipa::path(get, path = "/readyz", tag = "system", responses((status = 200, body = Health), Problems))]
pub async fn readyz(State(app): State<App>) -> Result<Json<Health>> {
    if app.stopping().is_cancelled() {
        let error = Error::new(Kind::Unavailable, "draining", "the server is stopping");
        return Err(error.retry_after(Duration::from_secs(30)));
    }
    if app.check_disk(NEARLY_FULL).is_err() {
        let detail = "the disk is full: uploads and new jobs are refused, and running jobs may wait for space; predictions still work";
        let error = Error::new(Kind::Unavailable, "disk-full", detail);
        return Err(error.retry_after(Duration::from_secs(5)));
    }
    app.store().check_writable().await?;
    Ok(Json(Health { status: "ok" }))
}

/// Version, devices, queue, sandbox, limits
#[utoipa::path(get, path = "/v1/system", tag = "system", responses((status = 200, body = System), Problems))]
pub async fn system(State(app): State<App>) -> Result<Json<System>> {
    let (queued_jobs, running_jobs) = app.store().job_counts().await?;
    let devices = app.jobs().devices().into_iter().map(|state| SystemDevice {
        name: state.device.name,
        description: state.device.description,
        threads: state.device.threads,
        memory_bytes: state.device.memory_bytes,
        job: state.job,
        failed_since: state.failed_since,
    });
    let serving = app.inference().device();
    let (keep, unused) = (&app.config().keep, app.jobs().unused_datasets());
    Ok(Json(System {
        object: "system",
        version: env!("CARGO_PKG_VERSION"),
        devices: devices.collect(),
        predictions: SystemPredictions {
            device: serving.device,
            instead_of: serving.instead_of,
        },
        queued_jobs,
        running_jobs,
        free_bytes: app.blobs().free_bytes()?,
        retention: Retention {
            keep_runs: keep.keep_runs.to_string(),
            keep_events: keep.keep_events.to_string(),
            keep_checkpoints: keep.keep_checkpoints.to_string(),
            keep_deliveries: keep.keep_deliveries.to_string(),
        },
        unused_datasets: Unused {
            count: unused.count,
            bytes: unused.bytes,
        },
        sandbox: SystemSandbox {
            mode: app.config().sandbox,
            support: Support::of_this_kernel(),
        },
        worker_limits: cgroup::limits(),
        limits: app.limits().clone(),
    }))
}
