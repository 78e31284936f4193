//! Images with several labels, from the archive to the answers of a model.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Server, api::Answer, pictures};

/// Images of the first class are of the third, too; every fourth image shows none.
fn archive() -> Vec<u8> {
    let mut files = Vec::new();
    let mut table = "file,red,green,both\n".to_owned();
    for number in 0..36 {
        let (path, class) = (format!("images/{number:02}.png"), number % 2);
        let row = match (number % 4, class) {
            (3, _) => "0,0,0",
            (_, 0) => "1,0,1",
            _ => "0,1,0",
        };
        table += &format!("{path},{row}\n");
        let class = if number % 4 == 3 { 2 } else { class };
        files.push((path, pictures::png(class, number, 36)));
    }
    files.push(("labels.csv".to_owned(), table.into_bytes()));
    pictures::zip(files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())))
}

fn spec(more: Value) -> Value {
    let mut spec = json!({
        "dataset": "scenes", "backbone": {"architecture": "resnet20"}, "epochs": 8, "batch_size": 8, "name": "told",
        "task": "multi_label", "optimizer": {"name": "adamw", "lr": 0.003}, "split": {"val": 0.25},
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

async fn images(api: &Api, query: &str) -> Value {
    let path = format!("/v1/datasets/scenes/images?limit=100{query}");
    api.get(&path).await.expect(200).json()
}

async fn change(api: &Api, image: u32, change: Value) -> Answer {
    let path = format!("/v1/datasets/scenes/images/{image}");
    api.send(api.request(Method::PATCH, &path).json(&change)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_listed_changed_and_downloaded() {
    let server = Server::start().await;
    let api = &server.api;
    let dataset = api.upload("scenes", archive()).await;
    assert_eq!(
        (&dataset["images"], &dataset["several_labels"]),
        (&json!(36), &json!(27))
    );
    let counts: Vec<_> = dataset["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| (class["name"].as_str().unwrap(), class["images"].as_u64().unwrap()))
        .collect();
    assert_eq!(counts, [("both", 18), ("green", 9), ("red", 18)]);

    let red = images(api, "&class=red").await;
    assert_eq!(red["total"], 18);
    assert_eq!(red["data"].as_array().unwrap().len(), 18);
    let first = &red["data"][0];
    assert_eq!(
        (&first["class"], &first["labels"]),
        (&Value::Null, &json!(["both", "red"]))
    );

    change(api, 0, json!({"labels": ["red", "new"]}))
        .await
        .expect(200);
    change(api, 1, json!({"labels": []})).await.expect(200);
    change(api, 2, json!({"class": "green"})).await.expect(200);
    change(api, 2, json!({"class": "green", "labels": ["green"]}))
        .await
        .problem(422, "invalid");
    let all = images(api, "").await;
    let told = |image: usize| {
        (
            all["data"][image]["class"].clone(),
            all["data"][image]["labels"].clone(),
        )
    };
    assert_eq!(told(0), (Value::Null, json!(["new", "red"])));
    assert_eq!(told(1), (Value::Null, json!([])));
    assert_eq!(told(2), (json!("green"), Value::Null));

    // What is downloaded is the same dataset.
    let zip = api
        .request(Method::GET, "/v1/datasets/scenes/archive")
        .send()
        .await
        .unwrap();
    let again = api.upload("again", zip.bytes().await.unwrap().to_vec()).await;
    let changed = api.get("/v1/datasets/scenes").await.expect(200).json();
    assert_eq!(again["content_sha256"], changed["content_sha256"], "{again:#}");

    let left_out = json!({"several_labels": "leave_out", "classes": "table"});
    api.post("/v1/datasets/scenes/reread", left_out).await.expect(202);
    let single = api.get("/v1/datasets/scenes?wait=60").await.expect(200).json();
    assert_eq!(
        (&single["images"], &single["several_labels"]),
        (&json!(9), &json!(0))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_several_labels_is_trained_and_answers() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("scenes", archive()).await;
    let job = api.finished(&api.submit(spec(json!({}))).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let model = api.get("/v1/models/told").await.expect(200).json();
    assert_eq!(model["card"]["task"], "multi_label");
    assert_eq!(model["card"]["thresholds"].as_array().unwrap().len(), 3);
    let evaluation = api.get("/v1/models/told/evaluation").await.expect(200).json();
    assert!(
        evaluation["multi_label"]["mean_average_precision"]
            .as_f64()
            .unwrap()
            > 0.5
    );
    assert!(evaluation["classes"][0]["threshold"].is_f64());

    let red = pictures::png(0, 0, 36);
    let answer = api.put("/v1/models/told/predict?top_k=3", red.clone()).await;
    let answer = answer.expect(200).json();
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 3);
    for class in predictions {
        let threshold = &model["card"]["thresholds"][class["index"].as_u64().unwrap() as usize];
        let reached = class["probability"].as_f64() >= threshold.as_f64();
        assert_eq!(class["predicted"], json!(reached), "{class}");
    }
    let by_v1 = json!({"instances": [{"b64": in_base64(&red)}]});
    let by_v1 = api
        .post("/v1/models/told:predict", by_v1)
        .await
        .expect(200)
        .json();
    let shown: Vec<_> = predictions
        .iter()
        .filter(|class| class["predicted"] == true)
        .map(|class| class["label"].clone())
        .collect();
    assert_eq!(by_v1["predictions"][0]["labels"], json!(shown));

    let evaluate = json!({"kind": "evaluate", "model": "told", "dataset": "scenes", "split": "all"});
    let evaluated = api.finished(&api.submit(evaluate).await).await;
    assert_eq!(evaluated["status"], "succeeded", "{evaluated:#}");
    let batch = json!({"kind": "batch-predict", "model": "told", "dataset": "scenes", "top_k": 1});
    let batch = api.finished(&api.submit(batch).await).await;
    let id = batch["id"].as_str().unwrap();
    let csv = api
        .request(Method::GET, &format!("/v1/jobs/{id}/predictions?format=csv"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let mut lines = csv.lines();
    assert_eq!(
        lines.next(),
        Some("image,path,split,label,predicted,probability,predicted_labels,error")
    );
    let first = lines.next().unwrap();
    assert!(
        first.contains(r#""[""both"",""red""]""#),
        "the labels of the dataset: {first}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_one_class_each_says_what_to_change() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("scenes", archive()).await;
    let kinds = ["label_check", "cross_validate"]
        .map(|kind| json!({"kind": kind, "dataset": "scenes", "backbone": {"architecture": "resnet18"}}));
    let compare = json!({"kind": "compare", "dataset": "scenes", "backbones": ["resnet18"]});
    let mut wrong = vec![(spec(json!({"task": "single"})), "/task")];
    wrong.extend(kinds.into_iter().chain([compare]).map(|spec| (spec, "/dataset")));
    for (spec, pointer) in wrong {
        let problem = api
            .post("/v1/jobs?dry_run=true", spec.clone())
            .await
            .problem(422, "invalid");
        let errors = problem["errors"].as_array().unwrap();
        let several = errors.iter().find(|error| error["code"] == "several_labels");
        let several = several.unwrap_or_else(|| panic!("{spec}: {problem:#}"));
        assert_eq!(several["pointer"], pointer, "{spec}");
        assert!(
            several["message"].as_str().unwrap().contains("leave_out"),
            "{problem:#}"
        );
    }
    server.stop().await;
}

fn in_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
