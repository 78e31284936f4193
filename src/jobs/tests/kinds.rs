//! Jobs of kinds that make no model go the same way as trainings, and leave a file.

use serde_json::json;

use super::{Running, copied_run, events, worker_doing};
use crate::{
    domain::{
        jobs::job::{FailureCode, JobStatus, StopReason},
        spec::JobKind,
    },
    fixtures::Stand,
};

#[tokio::test]
async fn an_evaluation_leaves_a_result_and_no_model() {
    let stand = Stand::new().await;
    let model = stand.model().await;
    let dataset = stand.dataset("flowers").await;
    let spec = json!({"kind": "evaluate", "model": model.id.to_string(), "split": "all"});
    let job = stand.submit(&dataset, spec).await;
    let script = r#"
        cp run.json "$here/run.json"
        say '{"message":"progress",'"$(progress 1 3)"'}'
        printf '{"accuracy":1}' > evaluation.json
        result '{"outcome":"found","kind":"evaluate","file":'"$(artifact evaluation.json)"'}'
    "#;
    let running = Running::start(&stand, worker_doing(&stand, "evaluate", script));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.error), (JobStatus::Succeeded, None));
    assert_eq!((row.kind, row.model), (JobKind::Evaluate, None));
    assert_eq!(row.stop_reason, Some(StopReason::Completed));
    assert_eq!(row.progress.unwrap().step, 3);
    running.stop().await;

    let digest = stand.store.job_result(job).await.unwrap().unwrap();
    let text = std::fs::read_to_string(stand.blobs.path(&digest)).unwrap();
    assert_eq!(text, r#"{"accuracy":1}"#);
    assert!(stand.store.referenced_blobs().await.unwrap().contains(&digest));
    let told = events(&stand, job).await;
    let kinds: Vec<_> = told.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["status", "status", "progress", "end"]);

    let run = copied_run(&stand);
    assert_eq!(
        (&run["kind"], &run["spec"]["split"]),
        (&json!("evaluate"), &json!("all"))
    );
    assert_eq!(run["model"]["sha256"], model.sha256);
    assert!(run["model"]["weights"].as_str().unwrap().starts_with('/'));
    assert_eq!(run["dataset"]["lineage"]["name"], "flowers");
}

#[tokio::test]
async fn a_search_for_a_learning_rate_is_tried_again_and_does_not_go_on_from_checkpoints() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let job = stand
        .submit(&dataset, json!({"kind": "lr_find", "lr_find": {"steps": 30}}))
        .await;
    let script = r#"
        cp run.json "$here/run.json"
        step "$attempt"
        [ "$attempt" = 1 ] && exit 9
        printf '{}' > lr_find.json
        result '{"outcome":"found","kind":"lr_find","file":'"$(artifact lr_find.json)"'}'
    "#;
    let running = Running::start(&stand, worker_doing(&stand, "lr_find", script));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(
        (row.status, row.attempt, row.model),
        (JobStatus::Succeeded, 2, None)
    );
    running.stop().await;
    let run = copied_run(&stand);
    assert_eq!(
        (&run["kind"], &run["lr_find"]["steps"]),
        (&json!("lr_find"), &json!(30))
    );
    assert_eq!(run["train"]["checkpoints"], json!([]));
    assert_eq!(super::steps(&stand, job).await, [1, -1, 2]);
}

#[tokio::test]
async fn a_label_check_leaves_a_list_and_its_features_for_later_jobs() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let spec = json!({"kind": "label_check", "folds": 3});
    let job = stand.submit(&dataset, spec.clone()).await;
    let script = r#"
        cp run.json "$here/run.json"
        printf '{}' > label_check.json
        printf 'rows' > features.safetensors
        left='{"key":"a key","file":'"$(artifact features.safetensors)"'}'
        result '{"outcome":"found","kind":"label_check","file":'"$(artifact label_check.json)"',"activations":['"$left"']}'
    "#;
    let running = Running::start(&stand, worker_doing(&stand, "label_check", script));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.error), (JobStatus::Succeeded, None));
    assert_eq!((row.kind, row.model), (JobKind::LabelCheck, None));
    // After the job's end: the next one waits for it.
    let next = stand.submit(&dataset, spec).await;
    stand.until(next, |job| job.status.is_end()).await;
    running.stop().await;

    let kept = stand.store.activations(dataset.id).await.unwrap();
    let [(key, blob)] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    assert_eq!(key, "a key");
    assert_eq!(std::fs::read_to_string(stand.blobs.path(blob)).unwrap(), "rows");
    let run = copied_run(&stand);
    assert_eq!(
        (&run["kind"], &run["spec"]["folds"]),
        (&json!("label_check"), &json!(3))
    );
    assert_eq!(run["train"]["spec"]["preset"], "quick");
    assert_eq!(run["train"]["activations"][0]["key"], "a key");
}

#[tokio::test]
async fn a_result_of_another_kind_is_none() {
    let stand = Stand::new().await;
    let dataset = stand.dataset("flowers").await;
    let job = stand
        .submit(&dataset, json!({"kind": "lr_find", "max_attempts": 1}))
        .await;
    let script = r#"
        printf '{}' > evaluation.json
        result '{"outcome":"found","kind":"evaluate","file":'"$(artifact evaluation.json)"'}'
    "#;
    let running = Running::start(&stand, worker_doing(&stand, "lr_find", script));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!(row.error.unwrap().code, FailureCode::WorkerCrashed);
    assert_eq!(stand.store.job_result(job).await.unwrap(), None);
    running.stop().await;
}

#[tokio::test]
async fn an_evaluation_of_what_is_gone_or_unknown_fails_with_a_reason() {
    let stand = Stand::new().await;
    let model = stand.model().await;
    let foreign = stand.dataset_of("foreign", &["ants", "wasps"]).await;
    let spec = || json!({"kind": "evaluate", "model": model.id.to_string()});
    let unknown = stand.submit(&foreign, spec()).await;
    let running = Running::start(&stand, worker_doing(&stand, "evaluate", "exit 1"));
    let row = stand.until(unknown, |job| job.status.is_end()).await;
    let error = row.error.unwrap();
    assert_eq!(error.code, FailureCode::InvalidData);
    assert!(error.message.contains("wasps"), "{}", error.message);

    stand.store.delete_model(model.id, None).await.unwrap();
    let gone = stand.submit(&foreign, spec()).await;
    let row = stand.until(gone, |job| job.status.is_end()).await;
    let error = row.error.unwrap();
    assert_eq!(error.code, FailureCode::InvalidData);
    assert!(error.message.contains("model was deleted"), "{}", error.message);
    running.stop().await;
}

const PREDICTED: &str = r#"
    cp run.json "$here/run.json"
    say '{"message":"progress",'"$(progress 1 2)"'}'
    printf '{"image":0}\n' > predictions.jsonl
    printf 'image\r\n0\r\n' > predictions.csv
    result '{"outcome":"predicted","images":1,"errors":0,"jsonl":'"$(artifact predictions.jsonl)"',"csv":'"$(artifact predictions.csv)"'}'
"#;

#[tokio::test]
async fn a_batch_prediction_leaves_two_files_that_go_with_its_job() {
    let stand = Stand::new().await;
    let model = stand.model().await;
    // Other classes than the model's are no hindrance.
    let dataset = stand.dataset_of("foreign", &["wasps"]).await;
    let spec = json!({"kind": "batch-predict", "model": model.id.to_string(), "top_k": 3});
    let job = stand.submit(&dataset, spec).await;
    let running = Running::start(&stand, worker_doing(&stand, "batch_predict", PREDICTED));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.error), (JobStatus::Succeeded, None));
    assert_eq!((row.kind, row.model), (JobKind::BatchPredict, None));
    let predictions = row.predictions.unwrap();
    assert_eq!(predictions.href, format!("/v1/jobs/{job}/predictions"));
    assert_eq!((predictions.images, predictions.errors), (1, 0));
    let files = [&predictions.jsonl, &predictions.csv];
    let texts = files.map(|file| std::fs::read_to_string(stand.blobs.path(&file.sha256)).unwrap());
    assert_eq!(texts, ["{\"image\":0}\n", "image\r\n0\r\n"]);
    assert_eq!(files.map(|file| file.bytes), [12, 10]);

    let run = copied_run(&stand);
    assert_eq!(
        (&run["kind"], &run["spec"]["top_k"], &run["spec"]["split"]),
        (&json!("batch_predict"), &json!(3), &json!("all"))
    );
    assert_eq!(run["model"]["sha256"], model.sha256);
    assert_eq!(run["dataset"]["lineage"]["name"], "foreign");

    // While the job is there a sweep keeps both, and afterwards neither.
    let referenced = stand.store.referenced_blobs().await.unwrap();
    assert!(files.iter().all(|file| referenced.contains(&file.sha256)));
    stand.store.delete_job(job, None).await.unwrap();
    let referenced = stand.store.referenced_blobs().await.unwrap();
    assert!(files.iter().all(|file| !referenced.contains(&file.sha256)));
    running.stop().await;
}

#[tokio::test]
async fn a_batch_prediction_that_is_interrupted_begins_anew() {
    let stand = Stand::new().await;
    let model = stand.model().await;
    let dataset = stand.dataset("flowers").await;
    let spec = json!({"kind": "batch-predict", "model": model.id.to_string()});
    let job = stand.submit(&dataset, spec).await;
    let script = format!(
        "[ \"$attempt\" = 1 ] && {{ : > predictions.jsonl; exit 9; }}\n[ -e predictions.jsonl ] && exit 8\n{PREDICTED}"
    );
    let running = Running::start(&stand, worker_doing(&stand, "batch_predict", &script));
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.attempt), (JobStatus::Succeeded, 2));
    assert_eq!(row.predictions.unwrap().images, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_prediction_is_cancelled_without_a_trace_of_its_rows() {
    let stand = Stand::new().await;
    let model = stand.model().await;
    let dataset = stand.dataset("flowers").await;
    let spec = json!({"kind": "batch-predict", "model": model.id.to_string()});
    let job = stand.submit(&dataset, spec).await;
    let script = r#"
        printf '{"image":0}\n' > predictions.jsonl
        say '{"message":"progress",'"$(progress 1 2)"'}'
        until_stdin_ends
        exit 75
    "#;
    let running = Running::start(&stand, worker_doing(&stand, "batch_predict", script));
    stand.until(job, |job| job.progress.is_some()).await;
    stand.store.cancel_job(job, None).await.unwrap();
    let row = stand.until(job, |job| job.status.is_end()).await;
    assert_eq!((row.status, row.predictions), (JobStatus::Cancelled, None));
    assert_eq!(stand.store.job_result(job).await.unwrap(), None);
    running.stop().await;
}
