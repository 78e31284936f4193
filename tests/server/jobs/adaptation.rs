//! Training for the images of another dataset: its spec, its curve, its evaluation, and what cannot be a target.

use serde_json::{Value, json};

use crate::support::{Server, pictures};

fn spec(target: &str, more: Value) -> Value {
    let mut spec = json!({
        "dataset": "things", "backbone": {"architecture": "resnet20"}, "epochs": 2, "batch_size": 8,
        "domain_adaptation": {"target_dataset": target, "method": "coral"},
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

/// Images without class folders.
fn unlabelled(count: usize) -> Vec<u8> {
    let files: Vec<_> = (0..count)
        .map(|index| (format!("{index}.png"), pictures::png(index % 3, 100 + index, 36)))
        .collect();
    pictures::zip(files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_adapts_to_the_images_of_another_dataset() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 10)).await;
    api.upload("others", unlabelled(12)).await;
    api.upload("labelled", pictures::flat_archive(3, 4)).await;

    let job = api
        .finished(&api.submit(spec("others", json!({"name": "thing"}))).await)
        .await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let target = api.get("/v1/datasets/others").await.expect(200).json();
    let pinned = format!("{}@1", target["id"].as_str().unwrap());
    assert_eq!(
        job["spec"]["domain_adaptation"]["target_dataset"],
        pinned.as_str()
    );
    assert_eq!(job["spec"]["domain_adaptation"]["weight"], 100.0);
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let evaluation = api.get(&format!("{path}/evaluation")).await.expect(200).json();
    let adaptation = &evaluation["adaptation"];
    assert_eq!(
        (
            &adaptation["method"],
            &adaptation["images"],
            &adaptation["target"]["name"]
        ),
        (&json!("coral"), &json!(12), &json!("others"))
    );
    assert_eq!(adaptation["adapted"]["test"], Value::Null, "there are no labels");
    assert!(
        adaptation["source_only"]["domain_accuracy"].is_f64(),
        "{adaptation:#}"
    );
    let curves = api.get(&format!("{path}/metrics?series=alignment_loss")).await;
    let curves = curves.expect(200).json();
    assert!(!curves["series"]["alignment_loss"].as_array().unwrap().is_empty());

    // A resolved spec is a spec, and labels of a target are used to measure only.
    let again = json!({"name": "again", "domain_adaptation": {
        "target_dataset": "labelled", "method": "adabn",
    }});
    let job = api.finished(&api.submit(spec("labelled", again)).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let evaluation = api.get("/v1/models/again/evaluation").await.expect(200).json();
    for score in ["source_only", "adapted"] {
        let test = &evaluation["adaptation"][score]["test"];
        assert_eq!(
            (&test["split"], &test["images"]),
            (&json!("train"), &json!(12)),
            "{evaluation:#}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_target_is_refused_with_the_reason() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 4)).await;
    api.upload("more", pictures::flat_archive(3, 4)).await;
    api.upload("one", unlabelled(1)).await;
    let pointer = "/domain_adaptation/target_dataset";
    for (target, code) in [
        ("nothing", "not_found"),
        ("things", "conflict"),
        ("more", "unknown_classes"),
        ("one", "too_few_images"),
    ] {
        let problem = api
            .post("/v1/jobs", spec(target, json!({})))
            .await
            .problem(422, "invalid");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{problem:#}");
        assert_eq!(
            (&errors[0]["pointer"], &errors[0]["code"]),
            (&json!(pointer), &json!(code))
        );
    }
    assert_eq!(api.get("/v1/jobs").await.expect(200).json()["data"], json!([]));
    server.stop().await;
}
