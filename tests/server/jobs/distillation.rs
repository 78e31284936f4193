//! Training that learns from other models: its spec, its evaluation, and which models can be teachers.

use serde_json::{Value, json};

use crate::support::{Api, Server, pictures};

fn spec(more: Value) -> Value {
    let mut spec = json!({
        "dataset": "things", "backbone": {"architecture": "resnet20"}, "epochs": 2, "batch_size": 8,
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

async fn trained(api: &Api, fields: Value) -> Value {
    let job = api.finished(&api.submit(spec(fields)).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_model_learns_from_others() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 10)).await;
    trained(api, json!({"name": "large"})).await;
    trained(api, json!({"name": "other", "seed": 1})).await;
    let distill = json!({"teacher": ["large", "other@1"], "unlabelled_dataset": "more"});
    let files: Vec<_> = (0..9)
        .map(|index| (format!("{index}.png"), pictures::png(index % 3, 60 + index, 36)))
        .collect();
    let more = pictures::zip(files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())));
    api.upload("more", more).await;
    let job = trained(api, json!({"name": "small", "distill": distill})).await;

    let large = api.get("/v1/models/large").await.expect(200).json();
    assert_eq!(job["spec"]["distill"]["teacher"][0], large["id"], "pinned");
    let evaluation = api.get("/v1/models/small/evaluation").await.expect(200).json();
    let found = &evaluation["distillation"];
    assert_eq!(found["teachers"].as_array().unwrap().len(), 2);
    assert_eq!(found["teachers"][0]["model"], large["id"]);
    assert_eq!(found["student_accuracy"], evaluation["accuracy"]);
    assert!(found["alone_accuracy"].is_f64() && found["teacher_accuracy"].is_f64());
    let path = format!(
        "/v1/jobs/{}/metrics?series=distillation_loss",
        job["id"].as_str().unwrap()
    );
    let curves = api.get(&path).await.expect(200).json();
    assert!(
        !curves["series"]["distillation_loss"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_teacher_is_refused_with_the_reason() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 6)).await;
    api.upload("pairs", pictures::flat_archive(2, 6)).await;
    trained(api, json!({"name": "three"})).await;
    trained(api, json!({"name": "two", "dataset": "pairs"})).await;
    for (fields, pointer, code) in [
        (
            json!({"distill": {"teacher": "nothing"}}),
            "/distill/teacher/0",
            "not_found",
        ),
        (
            json!({"distill": {"teacher": "two"}}),
            "/distill/teacher/0",
            "unknown_classes",
        ),
        (
            json!({"dataset": "pairs", "distill": {"teacher": ["two", "three"]}}),
            "/distill/teacher/1",
            "unknown_classes",
        ),
        (
            json!({"backbone": {"architecture": "resnet20", "weights": "three"}, "freeze": "none", "distill": {"teacher": "three@1"}}),
            "/distill/teacher/0",
            "conflict",
        ),
        (
            json!({"distill": {"teacher": "three", "unlabelled_dataset": "things"}}),
            "/distill/unlabelled_dataset",
            "conflict",
        ),
    ] {
        let problem = api.post("/v1/jobs", spec(fields)).await.problem(422, "invalid");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{problem:#}");
        assert_eq!(
            (&errors[0]["pointer"], &errors[0]["code"]),
            (&json!(pointer), &json!(code))
        );
    }
    server.stop().await;
}
