//! Images with an answer to each of several questions, from the table to the answers of a model.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Server, pictures};

/// The third column answers for every other image only.
fn archive() -> Vec<u8> {
    let mut files = Vec::new();
    let mut table = "file,colour,parity,remark\n".to_owned();
    for number in 0..36 {
        let (path, class) = (format!("images/{number:02}.png"), number % 3);
        let colour = ["red", "green", "blue"][class];
        let parity = ["even", "", "odd", ""][number % 4];
        table += &format!(
            "{path},{colour},{parity},{}\n",
            if number < 18 { "early" } else { "late" }
        );
        files.push((path, pictures::png(class, number, 36)));
    }
    files.push(("labels.csv".to_owned(), table.into_bytes()));
    pictures::zip(files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())))
}

const COLUMNS: [&str; 2] = ["colour", "parity"];

async fn upload(api: &Api) -> Value {
    api.upload("asked", archive()).await;
    let options = json!({"classes": "table", "task_columns": COLUMNS});
    api.post("/v1/datasets/asked/reread", options).await.expect(202);
    api.get("/v1/datasets/asked?wait=60").await.expect(200).json()
}

fn spec(more: Value) -> Value {
    let mut spec = json!({
        "dataset": "asked", "backbone": {"architecture": "resnet20"}, "epochs": 8, "batch_size": 8, "name": "answers",
        "task": "multi_task", "optimizer": {"name": "adamw", "lr": 0.003}, "split": {"val": 0.25},
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_several_tasks_answers_each() {
    let server = Server::start().await;
    let api = &server.api;
    let dataset = upload(api).await;
    let classes: Vec<&str> = dataset["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        classes,
        [
            "colour=blue",
            "colour=green",
            "colour=red",
            "parity=even",
            "parity=odd"
        ]
    );

    let job = api.finished(&api.submit(spec(json!({}))).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let model = api.get("/v1/models/answers").await.expect(200).json();
    assert_eq!(model["card"]["task"], "multi_task");
    assert_eq!(model["card"]["tasks"][0]["name"], "colour");
    assert_eq!(model["card"]["tasks"][1]["classes"], json!([3, 4]));
    let evaluation = api.get("/v1/models/answers/evaluation").await.expect(200).json();
    assert_eq!(evaluation["tasks"][0]["images"], evaluation["images"]);
    assert!(evaluation["tasks"][1]["images"].as_u64() < evaluation["images"].as_u64());

    let answer = api
        .put("/v1/models/answers/predict?top_k=5", pictures::png(0, 0, 36))
        .await;
    let answer = answer.expect(200).json();
    let predictions = answer["predictions"].as_array().unwrap();
    for task in COLUMNS {
        let own = predictions
            .iter()
            .filter(|class| class["label"].as_str().unwrap().starts_with(task));
        let sum: f64 = own
            .clone()
            .map(|class| class["probability"].as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-9, "{answer:#}");
        let predicted: Vec<&Value> = own.filter(|class| class["predicted"] == true).collect();
        assert_eq!(predicted.len(), 1);
        let said = answer["answers"][task].as_str().unwrap();
        assert_eq!(predicted[0]["label"], format!("{task}={said}"));
    }
    let least = api
        .put("/v1/models/answers/predict?top_k=1", pictures::png(0, 0, 36))
        .await;
    assert_eq!(
        least.expect(200).json()["predictions"].as_array().unwrap().len(),
        2
    );

    let evaluate = json!({"kind": "evaluate", "model": "answers", "dataset": "asked", "split": "all"});
    let evaluated = api.finished(&api.submit(evaluate).await).await;
    assert_eq!(evaluated["status"], "succeeded", "{evaluated:#}");
    let batch = json!({"kind": "batch-predict", "model": "answers", "dataset": "asked", "top_k": 1});
    let batch = api.finished(&api.submit(batch).await).await;
    let id = batch["id"].as_str().unwrap();
    let path = format!("/v1/jobs/{id}/predictions?format=csv");
    let csv = api
        .request(Method::GET, &path)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let line = csv.lines().nth(1).unwrap();
    assert!(line.contains("colour=") && line.contains("parity="), "{line}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_tasks_need_is_said() {
    let server = Server::start().await;
    let api = &server.api;
    let first = api.upload("asked", archive()).await;
    let readings = first["report"]["readings"].as_array();
    let offered = readings
        .into_iter()
        .flatten()
        .find(|reading| reading["options"]["task_columns"].is_array());
    let offered = offered.unwrap_or_else(|| panic!("{:#}", first["report"]));
    assert_eq!(
        offered["options"]["task_columns"],
        json!(["colour", "parity", "remark"])
    );

    let options = json!({"classes": "table", "task_columns": COLUMNS});
    api.post("/v1/datasets/asked/reread", options).await.expect(202);
    api.get("/v1/datasets/asked?wait=60").await.expect(200);
    for (more, pointer) in [
        (json!({"task": "single"}), "/task"),
        (
            json!({"loss": {"task_weights": {"size": 2}}}),
            "/loss/task_weights",
        ),
        (json!({"loss": {"name": "focal"}}), "/loss/name"),
        (json!({"loss": {"imbalance": "class_weights"}}), "/loss/imbalance"),
        (json!({"head": {"kind": "knn"}}), "/head/kind"),
    ] {
        let problem = api
            .post("/v1/jobs?dry_run=true", spec(more.clone()))
            .await
            .problem(422, "invalid");
        let pointers: Vec<_> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| &error["pointer"])
            .collect();
        assert!(pointers.contains(&&json!(pointer)), "{more}: {problem:#}");
    }
    let of_one_class = json!({"classes": "table", "label_column": "colour"});
    api.post("/v1/datasets/asked/reread", of_one_class)
        .await
        .expect(202);
    api.get("/v1/datasets/asked?wait=60").await.expect(200);
    let problem = api
        .post("/v1/jobs?dry_run=true", spec(json!({})))
        .await
        .problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "no_tasks");
    let message = problem["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("task_columns"), "{message}");
    server.stop().await;
}
