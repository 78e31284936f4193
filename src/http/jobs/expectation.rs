//! What a training that is only checked would need.

use crate::{
    domain::{
        datasets::dataset::{Dataset, DatasetStatus},
        jobs::{
            expected::{self, Ended, Expected, Images},
            job::{Job, JobStatus, StopReason},
        },
        page::{Order, PageRequest},
        spec::{JobSpec, Spec},
    },
    error::Result,
    http::App,
    store::JobFilter,
};

/// How many jobs are looked at, newest first.
const JOBS: u32 = 30;

/// None where the dataset has not been read yet, and of trainings that do more than learn from its labels.
pub async fn of(app: &App, spec: &JobSpec, dataset: &Dataset) -> Result<Option<Expected>> {
    if dataset.status != DatasetStatus::Ready || !expected::is_known_for(spec) {
        return Ok(None);
    }
    let has_gpu = app
        .jobs()
        .devices()
        .iter()
        .any(|state| is_gpu(&state.device.name));
    let on_gpu = !spec.device.allows("cpu", has_gpu);
    let filter = JobFilter {
        status: Some(JobStatus::Succeeded),
        ..JobFilter::default()
    };
    let page = PageRequest {
        limit: JOBS,
        after: None,
        order: Order::Desc,
    };
    let mut ended = Vec::new();
    for job in app.store().jobs(&filter, &page).await?.data {
        if job
            .device
            .as_deref()
            .is_some_and(|device| is_gpu(device) == on_gpu)
        {
            ended.extend(training(app, &job).await?);
        }
    }
    let device = if on_gpu { "gpu" } else { "cpu" };
    let images = Images::of(&dataset.splits, spec);
    let classes = dataset.classes.len() as u64;
    Ok(Some(Expected::of(spec, images, classes, &ended, device)))
}

/// A training that went through all of its epochs without an interruption.
async fn training(app: &App, job: &Job) -> Result<Option<Ended>> {
    let (Spec::Train(spec), Some(began), Some(end), 1, Some(StopReason::Completed)) = (
        &job.spec,
        job.started_at,
        job.finished_at,
        job.attempt,
        job.stop_reason,
    ) else {
        return Ok(None);
    };
    if !expected::is_known_for(spec) {
        return Ok(None);
    }
    let version = app.store().version(job.dataset.id, job.dataset.version).await?;
    Ok(version.map(|version| Ended {
        architecture: spec.backbone.architecture,
        work: expected::work(spec, Images::of(&version.splits, spec)),
        seconds: (end.0 - began.0) as f64 / 1e3,
    }))
}

fn is_gpu(device: &str) -> bool {
    device.starts_with("cuda")
}
