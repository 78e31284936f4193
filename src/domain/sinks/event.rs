//! What webhooks are told of, and in which words.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    access::Holder,
    datasets::dataset::{Dataset, DatasetError, DatasetStatus},
    id::{DatasetId, JobId, ModelId},
    jobs::job::{Best, DatasetVersion, Job, JobError, JobStatus, StopReason},
    name::Name,
    spec::JobKind,
    time::Timestamp,
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum EventType {
    #[serde(rename = "job.succeeded")]
    JobSucceeded,
    #[serde(rename = "job.failed")]
    JobFailed,
    #[serde(rename = "job.cancelled")]
    JobCancelled,
    /// An archive was read.
    #[serde(rename = "dataset.ready")]
    DatasetReady,
    /// An archive could not be read. A dataset that was read before stays as it was.
    #[serde(rename = "dataset.failed")]
    DatasetFailed,
    /// Somebody tries the webhook; no webhook asks for it.
    #[serde(rename = "webhook.test")]
    Test,
}

impl EventType {
    /// What a webhook can ask for.
    pub const OFFERED: [EventType; 5] = [
        EventType::JobSucceeded,
        EventType::JobFailed,
        EventType::JobCancelled,
        EventType::DatasetReady,
        EventType::DatasetFailed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            EventType::JobSucceeded => "job.succeeded",
            EventType::JobFailed => "job.failed",
            EventType::JobCancelled => "job.cancelled",
            EventType::DatasetReady => "dataset.ready",
            EventType::DatasetFailed => "dataset.failed",
            EventType::Test => "webhook.test",
        }
    }

    /// That of a job's end; none while it has not ended.
    pub fn of_job(status: JobStatus) -> Option<Self> {
        match status {
            JobStatus::Succeeded => Some(EventType::JobSucceeded),
            JobStatus::Failed => Some(EventType::JobFailed),
            JobStatus::Cancelled => Some(EventType::JobCancelled),
            JobStatus::Queued | JobStatus::Running => None,
        }
    }
}

/// The `data` of `job.*`. The job itself has more: `GET /v1/jobs/{job}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobEnded {
    pub object: &'static str,
    pub id: JobId,
    pub kind: JobKind,
    pub name: Name,
    pub status: JobStatus,
    pub dataset: DatasetVersion,
    pub model: Option<ModelId>,
    pub best: Option<Best>,
    pub stop_reason: Option<StopReason>,
    pub error: Option<JobError>,
    pub owner: Option<Holder>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl From<Job> for JobEnded {
    fn from(job: Job) -> Self {
        Self {
            object: "job",
            id: job.id,
            kind: job.kind,
            name: job.name,
            status: job.status,
            dataset: job.dataset,
            model: job.model,
            best: job.best,
            stop_reason: job.stop_reason,
            error: job.error,
            owner: job.owner,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
        }
    }
}

/// The `data` of `dataset.*`. The dataset itself has more: `GET /v1/datasets/{dataset}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetEnded {
    pub object: &'static str,
    pub id: DatasetId,
    pub name: Name,
    pub status: DatasetStatus,
    pub version: u32,
    pub images: u64,
    /// How many.
    pub classes: u64,
    pub bytes: u64,
    pub error: Option<DatasetError>,
    pub owner: Option<Holder>,
    pub created_at: Timestamp,
}

impl From<Dataset> for DatasetEnded {
    fn from(dataset: Dataset) -> Self {
        Self {
            object: "dataset",
            id: dataset.id,
            name: dataset.name,
            status: dataset.status,
            version: dataset.version,
            images: dataset.images,
            classes: dataset.classes.len() as u64,
            bytes: dataset.bytes,
            error: dataset.error,
            owner: dataset.owner,
            created_at: dataset.created_at,
        }
    }
}

/// A payload as Standard Webhooks has them.
///
/// # Errors
/// `data` has no JSON form.
pub fn payload(event: EventType, at: Timestamp, data: &impl Serialize) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Payload<'d, D> {
        r#type: EventType,
        timestamp: Timestamp,
        data: &'d D,
    }
    serde_json::to_string(&Payload {
        r#type: event,
        timestamp: at,
        data,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_called_the_same_everywhere() {
        for event in EventType::OFFERED.into_iter().chain([EventType::Test]) {
            assert_eq!(json!(event), event.as_str());
        }
    }

    #[test]
    fn a_payload_begins_with_its_type() {
        let text = payload(EventType::Test, Timestamp(1_764_000_000_123), &json!({"a": 1})).unwrap();
        let expected = r#"{"type":"webhook.test","timestamp":"2025-11-24T16:00:00.123Z","data":{"a":1}}"#;
        assert_eq!(text, expected);
    }
}
