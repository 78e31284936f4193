//! A job as a run of MLflow: its spec as parameters, its curves as metrics, what it is and what it made as tags.

use serde_json::Value;

use super::client::{Batch, Client, Entry, Metric, Run};
use crate::{
    domain::jobs::{
        event::Event,
        job::{Job, JobStatus},
        scalars::scalars,
    },
    error::Result,
    store::{CurveOutline, Store},
};

/// The tag that a run is found by.
const JOB: &str = "finetuned.job";
/// The tag that says which event of the job was logged last.
const LOGGED: &str = "finetuned.logged";
/// Events per call: each has fewer than ten values, and a call takes a thousand.
const PAGE: u32 = 100;
/// Most parameters per call.
const PARAMETERS: usize = 100;
/// Longest value of a parameter and of a tag, in characters: older servers take no more.
const LONGEST: usize = 500;

/// Logs an ended job; the id of its run, or why it could not be logged.
///
/// # Errors
/// The database's.
pub async fn log(store: &Store, client: &Client, job: &Job) -> Result<std::result::Result<String, String>> {
    let run = match begin(client, job).await {
        Ok(run) => run,
        Err(failure) => return Ok(Err(failure)),
    };
    if run.info.status != "RUNNING" {
        return Ok(Ok(run.info.run_id));
    }
    let id = run.info.run_id.as_str();
    let logged = run.data.tags.iter().find(|tag| tag.key == LOGGED);
    let mut seen: i64 = logged.and_then(|tag| tag.value.parse().ok()).unwrap_or(0);
    let outline = store.curve_outline(job.id).await?;
    loop {
        let page = store.curve_events(job.id, seen, PAGE).await?;
        let Some(last) = page.last() else { break };
        seen = last.seq;
        let batch = Batch {
            metrics: page.iter().flat_map(|event| metrics(event, &outline)).collect(),
            tags: vec![entry(LOGGED, seen.to_string())],
            ..Batch::default()
        };
        if let Err(failure) = client.log(id, &batch).await {
            return Ok(Err(failure.into()));
        }
    }
    Ok(end(client, job, id).await.map(|()| run.info.run_id))
}

/// The run of a job with its parameters, as it is there or made.
async fn begin(client: &Client, job: &Job) -> std::result::Result<Run, String> {
    let experiment = client.experiment().await?;
    let found = client.find_run(&experiment, JOB, &job.id.to_string()).await?;
    let run = match found {
        Some(run) => run,
        None => {
            let start = job.started_at.unwrap_or(job.created_at).0;
            client
                .create_run(&experiment, job.name.as_str(), start, &tags(job))
                .await?
        }
    };
    if run.info.status == "RUNNING" {
        // Again changes nothing: the values are the same.
        for some in parameters(&serde_json::json!(job.spec)).chunks(PARAMETERS) {
            let batch = Batch {
                params: some.to_vec(),
                ..Batch::default()
            };
            client.log(&run.info.run_id, &batch).await?;
        }
    }
    Ok(run)
}

async fn end(client: &Client, job: &Job, run: &str) -> std::result::Result<(), String> {
    let at = job.finished_at.unwrap_or(job.created_at).0;
    if let Some(best) = &job.best {
        let of = |key, value: Option<f64>| {
            Some(Metric {
                key,
                value: value?,
                timestamp: at,
                step: 0,
            })
        };
        let metrics = [
            of("best/val_loss", best.val_loss),
            of("best/val_accuracy", best.val_accuracy),
            of("best/epoch", Some(f64::from(best.epoch))),
        ];
        let batch = Batch {
            metrics: metrics.into_iter().flatten().collect(),
            ..Batch::default()
        };
        client.log(run, &batch).await?;
    }
    let status = match job.status {
        JobStatus::Succeeded => "FINISHED",
        JobStatus::Cancelled => "KILLED",
        _ => "FAILED",
    };
    Ok(client.end_run(run, status, at).await?)
}

fn metrics(event: &Event, outline: &CurveOutline) -> Vec<Metric> {
    let step = event.data["step"].as_u64().unwrap_or(0);
    if outline.takes_back(event.seq, step) {
        return Vec::new();
    }
    let metric = |(key, value)| Metric {
        key,
        value,
        timestamp: event.created_at.0,
        step,
    };
    scalars(event, outline.has_steps)
        .into_iter()
        .map(metric)
        .collect()
}

fn tags(job: &Job) -> Vec<Entry> {
    let mut tags = vec![
        entry(JOB, job.id.to_string()),
        entry("finetuned.kind", job.kind.as_str()),
        entry("finetuned.dataset", job.dataset.id.to_string()),
        entry("finetuned.dataset_version", job.dataset.version.to_string()),
        entry("mlflow.source.name", "finetuned"),
        entry("mlflow.source.type", "JOB"),
    ];
    let more = [
        ("finetuned.dataset_sha256", job.dataset.content_sha256.clone()),
        ("finetuned.model", job.model.map(|model| model.to_string())),
        (
            "finetuned.error",
            job.error.as_ref().map(|error| error.message.clone()),
        ),
        (
            "mlflow.user",
            job.owner.as_ref().map(|owner| owner.name.to_string()),
        ),
    ];
    tags.extend(
        more.into_iter()
            .filter_map(|(key, value)| Some(entry(key, value?))),
    );
    tags
}

/// The leaves of a spec, each under its path: `optimizer.lr`. Lists stay together.
fn parameters(spec: &Value) -> Vec<Entry> {
    fn collect(path: &str, value: &Value, found: &mut Vec<Entry>) {
        match value {
            Value::Null => {}
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = match path {
                        "" => name.clone(),
                        path => format!("{path}.{name}"),
                    };
                    collect(&path, value, found);
                }
            }
            Value::String(text) => found.push(entry(path, text.as_str())),
            other => found.push(entry(path, other.to_string())),
        }
    }
    let mut found = Vec::new();
    collect("", spec, &mut found);
    found
}

fn entry(key: &str, value: impl Into<String>) -> Entry {
    let value: String = value.into();
    Entry {
        key: key.to_owned(),
        value: value.chars().take(LONGEST).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spec_is_parameters_by_their_paths() {
        let spec = json!({"epochs": 3, "optimizer": {"lr": 0.1, "kind": "sgd"}, "freeze": null, "classes": ["a", "b"]});
        let found = parameters(&spec);
        let mut found: Vec<(&str, &str)> = found
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.as_str()))
            .collect();
        found.sort_unstable();
        let expected = [
            ("classes", r#"["a","b"]"#),
            ("epochs", "3"),
            ("optimizer.kind", "sgd"),
            ("optimizer.lr", "0.1"),
        ];
        assert_eq!(found, expected);
        assert_eq!(entry("a", "ä".repeat(600)).value.chars().count(), LONGEST);
    }
}
