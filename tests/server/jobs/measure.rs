//! How good a model is, measured by its training and by jobs of their own, and the search for a learning rate.

use serde_json::{Value, json};

use crate::support::{Api, Server, pictures};

fn spec(more: Value) -> Value {
    let mut spec = json!({
        "dataset": "things", "backbone": {"weights": "none"}, "image": {"size": 32}, "batch_size": 8
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

async fn succeeded(api: &Api, spec: Value) -> Value {
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

/// Pictures of these classes in folders of their names.
fn archive(classes: &[usize], each: usize) -> Vec<u8> {
    let files = classes.iter().flat_map(|class| {
        (0..each).map(move |index| {
            (
                format!("class-{class}/{index}.png"),
                pictures::png(*class, index, 40),
            )
        })
    });
    let files: Vec<_> = files.collect();
    pictures::zip(files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_measured_and_a_learning_rate_is_looked_for() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", archive(&[0, 1, 2], 16)).await;
    let trained = succeeded(
        api,
        spec(json!({"name": "thing", "epochs": 3, "split": {"val": 0.25}})),
    )
    .await;

    // At the end of its training, on the validation images.
    let evaluation = api.get("/v1/models/thing/evaluation").await.expect(200).json();
    let model = api.get("/v1/models/thing").await.expect(200).json();
    assert_eq!(
        (&evaluation["split"], &evaluation["images"]),
        (&json!("val"), &json!(12))
    );
    assert_eq!(evaluation["accuracy"], trained["best"]["val_accuracy"]);
    assert_eq!(
        evaluation["calibration"]["temperature"],
        model["card"]["temperature"]
    );
    let path = format!("/v1/jobs/{}/evaluation", trained["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.expect(200).json(), evaluation);

    // On another dataset, where class 1 is the first: matched by name, and the same as asking picture by picture.
    api.upload("others", archive(&[1, 2], 5)).await;
    let document = json!({"kind": "evaluate", "model": "thing", "dataset": "others", "split": "all"});
    let job = succeeded(api, document).await;
    assert_eq!(
        (&job["kind"], &job["name"], &job["model"]),
        (&json!("evaluate"), &json!("thing"), &Value::Null)
    );
    assert_eq!(
        (&job["spec"]["model"], &job["spec"]["split"]),
        (&model["id"], &json!("all"))
    );
    let path = format!("/v1/jobs/{}/evaluation", job["id"].as_str().unwrap());
    let measured = api.get(&path).await.expect(200).json();
    assert_eq!(measured["confusion_matrix"], asked_one_by_one(api).await);
    assert_eq!(measured["classes"][0]["support"], 0);
    assert_eq!(measured["classes"][1]["support"], 5);
    assert_eq!(measured["classes"][1]["name"], "class-1");

    // A learning rate for the next training.
    let job = succeeded(
        api,
        spec(json!({"kind": "lr_find", "lr_find": {"min_lr": 1e-5, "steps": 24}})),
    )
    .await;
    assert_eq!((&job["kind"], &job["model"]), (&json!("lr_find"), &Value::Null));
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let found = api.get(&format!("{path}/lr_find")).await.expect(200).json();
    let points = found["points"].as_array().unwrap();
    assert!(!points.is_empty() && points[0]["lr"] == 1e-5, "{found:#}");
    let metrics = api
        .get(&format!("{path}/metrics?series=lr"))
        .await
        .expect(200)
        .json();
    assert!(!metrics["series"]["lr"].as_array().unwrap().is_empty());
    api.get(&format!("{path}/evaluation"))
        .await
        .problem(404, "no-evaluation");
    backbones_are_compared(api).await;
    let models = api.get("/v1/models").await.expect(200).json();
    assert_eq!(models["data"].as_array().unwrap().len(), 1);
    server.stop().await;
}

/// A model is a backbone, too. It stays the one that had the name when the job was submitted.
async fn backbones_are_compared(api: &Api) {
    let model = api.get("/v1/models/thing").await.expect(200).json();
    let architecture = &model["card"]["architecture"];
    let backbone = |weights: &str| json!({"architecture": architecture, "weights": weights});
    let spec = |backbones: Value| json!({"kind": "compare", "dataset": "things", "split": {"val": 0.25}, "backbones": backbones});
    let refused = api
        .post("/v1/jobs", spec(json!([backbone("thing"), backbone("nothing")])))
        .await;
    let refused = refused.problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/backbones/1/weights");
    assert_eq!(refused["errors"][0]["code"], "not_found");

    let job = succeeded(
        api,
        spec(json!([backbone("thing"), backbone("gone.safetensors")])),
    )
    .await;
    assert_eq!(
        (&job["kind"], &job["name"], &job["model"]),
        (&json!("compare"), &json!("compare"), &Value::Null)
    );
    assert_eq!(job["spec"]["backbones"][0]["weights"], model["id"]);
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let found = api.get(&format!("{path}/comparison")).await.expect(200).json();
    assert_eq!(
        (&found["object"], &found["images"]),
        (&json!("comparison"), &json!(12))
    );
    let [first, second] = found["backbones"].as_array().unwrap().as_slice() else {
        panic!("{found:#}");
    };
    assert_eq!(
        (&first["architecture"], &first["error"]),
        (architecture, &Value::Null)
    );
    assert!(first["measured"]["accuracy"].as_f64().unwrap() > 0.5, "{found:#}");
    assert!(
        second["error"].as_str().unwrap().contains("gone.safetensors"),
        "{found:#}"
    );
    api.get(&format!("{path}/lr_find"))
        .await
        .problem(404, "no-lr-find");
}

/// The confusion matrix of the `others`, as predictions give it.
async fn asked_one_by_one(api: &Api) -> Value {
    let mut counts = [[0; 3]; 3];
    for class in [1, 2] {
        for index in 0..5 {
            let picture = pictures::png(class, index, 40);
            let answer = api
                .put("/v1/models/thing/predict?top_k=1", picture)
                .await
                .expect(200);
            let predicted = answer.json()["predictions"][0]["index"].as_u64().unwrap();
            counts[class][predicted as usize] += 1;
        }
    }
    json!(counts)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_refused_with_every_fault() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", archive(&[0, 1], 4)).await;
    api.upload("foreign", archive(&[1, 7], 4)).await;
    succeeded(
        api,
        spec(json!({"name": "thing", "epochs": 1, "split": {"val": 0}})),
    )
    .await;
    let problem = api.get("/v1/models/thing/evaluation").await;
    let detail = problem.problem(404, "no-evaluation")["detail"].clone();
    assert!(
        detail.as_str().unwrap().contains("without validation images"),
        "{detail}"
    );

    let evaluate =
        |model: &str, dataset: &str| json!({"kind": "evaluate", "model": model, "dataset": dataset});
    let faults = async |document: Value| {
        let problem = api.post("/v1/jobs", document).await.problem(422, "invalid");
        let faults = problem["errors"].as_array().unwrap().iter();
        let pair = |fault: &Value| json!([fault["pointer"], fault["code"]]);
        Value::from_iter(faults.map(pair))
    };
    assert_eq!(
        faults(evaluate("thing", "foreign")).await,
        json!([["/dataset", "unknown_classes"]])
    );
    assert_eq!(
        faults(evaluate("nothing", "nowhere")).await,
        json!([["/model", "not_found"], ["/dataset", "not_found"]])
    );
    let mut wrong = evaluate("thing", "things");
    wrong["epochs"] = json!(3);
    wrong["split"] = json!("best");
    assert_eq!(
        faults(wrong).await,
        json!([["/split", "range"], ["/epochs", "unknown_field"]])
    );
    let resolved = api
        .post("/v1/jobs?dry_run=true", evaluate("thing@1", "things"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&resolved["kind"], &resolved["split"]),
        (&json!("evaluate"), &json!("val"))
    );
    assert!(
        resolved["model"].as_str().unwrap().starts_with("mdl_"),
        "{resolved}"
    );

    // The training had all images to train on: of `val` there is nothing to measure.
    let job = api.finished(&api.submit(evaluate("thing", "things")).await).await;
    assert_eq!(
        (&job["status"], &job["error"]["code"]),
        (&json!("failed"), &json!("invalid_data"))
    );
    server.stop().await;
}
