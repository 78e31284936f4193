//! What is made of folds of a dataset: doubtful labels, from a job that finds them to the next version, and cross-validations.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Api, Server, pictures};

const RESNET: &str = "resnet20";

async fn succeeded(api: &Api, spec: Value) -> Value {
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

/// A dataset of three classes of 16, and a model of it.
async fn things(api: &Api) {
    api.upload("things", pictures::flat_archive(3, 16)).await;
    let base = json!({
        "dataset": "things", "name": "base", "image": {"size": 32}, "batch_size": 8, "epochs": 3,
        "backbone": {"architecture": RESNET, "weights": "none"},
    });
    succeeded(api, base).await;
}

fn check(fields: Value) -> Value {
    let mut spec = json!({
        "kind": "label_check", "dataset": "things", "name": "labels",
        "backbone": {"architecture": RESNET, "weights": "base"},
    });
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_labels_are_found_and_mended_in_the_next_version() {
    let server = Server::start().await;
    let api = &server.api;
    things(api).await;
    // Of each class the first image is labelled as the next class.
    let flipped = [(0, "class-1"), (16, "class-2"), (32, "class-0")];
    let changes: Vec<Value> = flipped
        .iter()
        .map(|(id, class)| json!({"id": id, "class": class}))
        .collect();
    let patch = api.request(reqwest::Method::PATCH, "/v1/datasets/things/images");
    let version = api
        .send(patch.json(&json!({"images": changes})))
        .await
        .expect(200)
        .json();
    assert_eq!(version["version"], 2);

    let job = succeeded(api, check(json!({}))).await;
    assert_eq!(
        (
            &job["kind"],
            &job["name"],
            &job["model"],
            &job["dataset"]["version"]
        ),
        (&json!("label_check"), &json!("labels"), &Value::Null, &json!(2))
    );
    let model = api.get("/v1/models/base").await.expect(200).json();
    assert_eq!(job["spec"]["backbone"]["weights"], model["id"]);
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let found = api.get(&format!("{path}/label_check")).await.expect(200).json();
    assert_eq!((&found["images"], &found["folds"]), (&json!(48), &json!(5)));
    let listed = found["listed"].as_array().unwrap();
    let first: BTreeSet<u64> = listed
        .iter()
        .take(5)
        .filter_map(|image| image["image"].as_u64())
        .collect();
    assert!(first.is_superset(&BTreeSet::from([0, 16, 32])), "{found:#}");
    let zero = listed.iter().find(|image| image["image"] == 0).unwrap();
    assert_eq!(
        (&zero["given"], &zero["suggested"], &zero["reason"]),
        (&json!("class-1"), &json!("class-0"), &json!("label"))
    );
    api.get(&format!("{path}/comparison"))
        .await
        .problem(404, "no-comparison");

    // Another check starts from the features of the first.
    let again = succeeded(api, check(json!({"seed": 1, "name": "again"}))).await;
    let events = format!("/v1/jobs/{}/events?limit=1000", again["id"].as_str().unwrap());
    let events = api.get(&events).await.expect(200).json().to_string();
    assert!(events.contains("computed by an earlier job"), "{events}");

    let apply = "/v1/datasets/things/label_check/apply";
    let decided = |images: Value| json!({"job": "labels", "images": images});
    refused(api, apply).await;
    let kept = api
        .post(apply, decided(json!([{"id": 1, "action": "keep"}])))
        .await
        .expect(200)
        .json();
    assert_eq!(kept["version"], 2);
    let images = json!([
        {"id": 0, "action": "relabel"}, {"id": 16, "action": "relabel", "class": "class-1"},
        {"id": 32, "action": "remove"}, {"id": 1, "action": "keep"},
    ]);
    let mended = api.post(apply, decided(images.clone())).await.expect(201);
    assert!(
        mended.headers["location"]
            .to_str()
            .unwrap()
            .ends_with("/versions/3")
    );
    let mended = mended.json();
    assert_eq!((&mended["version"], &mended["images"]), (&json!(3), &json!(47)));
    let counts: Vec<&Value> = mended["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| &class["images"])
        .collect();
    assert_eq!(counts, [16, 16, 15]);
    let versions = api.get("/v1/datasets/things/versions/3").await.expect(200).json();
    let change = &versions["change"];
    assert_eq!(
        (&change["kind"], &change["relabelled"], &change["removed"]),
        (&json!("edit"), &json!(2), &json!(1))
    );
    let late = api
        .post(apply, decided(images))
        .await
        .problem(409, "version-changed");
    let detail = late["detail"].as_str().unwrap();
    assert!(
        detail.contains("version 2") && detail.contains("newest version is 3"),
        "{detail}"
    );
    server.stop().await;
}

/// What cannot be applied, while the dataset is at the version that was checked.
async fn refused(api: &Api, apply: &str) {
    let told = async |body: Value| {
        let problem = api.post(apply, body).await.problem(422, "invalid");
        let errors = problem["errors"].as_array().unwrap().iter();
        let told = errors.map(|error| format!("{} {}", error["pointer"], error["code"]).replace('"', ""));
        told.collect::<Vec<_>>()
    };
    let keep = json!([{"id": 1, "action": "keep"}]);
    let images =
        json!({"job": "labels", "images": [{"id": 1, "action": "keep"}, {"id": 900, "action": "keep"}]});
    assert_eq!(told(images).await, ["/images/1/id not_found"]);
    let images = json!({"job": "labels", "images": [{"id": 900, "action": "relabel"}]});
    assert_eq!(told(images).await, ["/images/0/class missing"]);
    assert_eq!(
        told(json!({"job": "nothing", "images": keep})).await,
        ["/job not_found"]
    );
    assert_eq!(
        told(json!({"job": "base", "images": keep})).await,
        ["/job conflict"]
    );
    assert_eq!(told(json!({"job": "labels"})).await, ["/images missing"]);
    api.upload("others", pictures::flat_archive(2, 5)).await;
    let other = "/v1/datasets/others/label_check/apply";
    let problem = api
        .post(other, json!({"job": "labels", "images": keep}))
        .await
        .problem(422, "invalid");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("checked another dataset")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accuracy_is_cross_validated() {
    let server = Server::start().await;
    let api = &server.api;
    things(api).await;
    let spec = json!({
        "kind": "cross_validate", "dataset": "things", "repeats": 2, "seed": 5,
        "backbone": {"architecture": RESNET, "weights": "base"}, "image": {"size": 32},
    });
    let job = succeeded(api, spec).await;
    assert_eq!(
        (&job["kind"], &job["name"], &job["model"]),
        (&json!("cross_validate"), &json!("cross-validation"), &Value::Null)
    );
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let found = api
        .get(&format!("{path}/cross_validation"))
        .await
        .expect(200)
        .json();
    assert_eq!(found["images"], 48);
    assert_eq!(found["scores"].as_array().unwrap().len(), 10);
    let seeds: Vec<&Value> = found["seeds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|seed| &seed["seed"])
        .collect();
    assert_eq!(seeds, [5, 6]);
    assert!(found["accuracy"].as_f64().unwrap() > 0.7, "{found:#}");
    api.get(&format!("{path}/label_check"))
        .await
        .problem(404, "no-label-check");

    let mut wrong = job["spec"].clone();
    wrong["epochs"] = json!(5);
    wrong["freeze"] = json!({"until": "layer2"});
    let problem = api.post("/v1/jobs", wrong).await.problem(422, "not-supported");
    let message = problem["errors"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("linear heads by L-BFGS on the features of a frozen backbone"),
        "{message}"
    );
    let mut many = job["spec"].clone();
    many["folds"] = json!(17);
    let problem = api.post("/v1/jobs", many).await.problem(422, "invalid");
    let message = problem["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("set `folds` to 16 or less"), "{message}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_cannot_be_checked_are_refused_with_what_to_change() {
    let server = Server::start().await;
    let api = &server.api;
    things(api).await;
    api.upload("few", pictures::flat_archive(3, 3)).await;
    api.upload("one", pictures::flat_archive(1, 9)).await;
    let loose: Vec<(String, Vec<u8>)> = (0..9)
        .map(|index| (format!("{index}.png"), pictures::png(index % 3, index, 40)))
        .collect();
    let loose = pictures::zip(loose.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    api.upload("loose", loose).await;
    let told = async |fields: Value| {
        let problem = api.post("/v1/jobs", check(fields)).await.problem(422, "invalid");
        let error = &problem["errors"][0];
        (
            format!("{} {}", error["pointer"], error["code"]).replace('"', ""),
            error["message"].as_str().unwrap().to_owned(),
        )
    };
    let (fault, message) = told(json!({"dataset": "few"})).await;
    assert_eq!(fault, "/folds range");
    assert!(
        message.contains("`class-0` has 3") && message.contains("set `folds` to 3 or less"),
        "{message}"
    );
    let resolved = api
        .post(
            "/v1/jobs?dry_run=true",
            check(json!({"dataset": "few", "folds": 3})),
        )
        .await
        .expect(200)
        .json();
    assert_eq!(resolved["folds"], 3);
    assert_eq!(told(json!({"dataset": "one"})).await.0, "/dataset one_class");
    assert_eq!(told(json!({"dataset": "loose"})).await.0, "/dataset unlabelled");
    assert_eq!(told(json!({"dataset": "nothing"})).await.0, "/dataset not_found");
    let (fault, message) = told(json!({"backbone": {"architecture": RESNET}})).await;
    assert_eq!(fault, "/backbone/weights conflict");
    assert!(message.contains("a label check needs the features"), "{message}");
    server.stop().await;
}
