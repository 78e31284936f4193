//! Batch prediction: a model's answers for a whole dataset, as two files with the job.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use reqwest::{
    Method,
    header::{HeaderMap, HeaderName},
};
use serde_json::{Value, json};

use crate::support::{Api, Server, pictures, stream::Stream};

/// A server with a model `thing` of three classes.
async fn with_model() -> Server {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 8)).await;
    let spec = json!({
        "dataset": "things", "name": "thing", "backbone": {"weights": "none"}, "image": {"size": 32}, "batch_size": 8,
        "epochs": 2, "split": {"val": 0.25}
    });
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    server
}

async fn succeeded(api: &Api, spec: Value) -> Value {
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

fn path_of(job: &Value) -> String {
    format!("/v1/jobs/{}/predictions", job["id"].as_str().unwrap())
}

async fn fetch(api: &Api, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let mut request = api.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(name.parse::<HeaderName>().unwrap(), *value);
    }
    let answer = api.send(request).await;
    (answer.status, answer.headers, answer.text)
}

fn rows(jsonl: &str) -> Vec<Value> {
    jsonl
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Images of several formats and sizes, with names that mean something to tables.
fn unlabelled() -> BTreeMap<&'static str, Vec<u8>> {
    let photo = pictures::picture(1, 5, 90);
    BTreeMap::from([
        ("=1+1.png", pictures::png(0, 40, 40)),
        ("comma, and \"quotes\".png", pictures::png(1, 41, 33)),
        ("photo.jpg", pictures::file(&photo, image::ImageFormat::Jpeg)),
        ("tiny.png", pictures::png(2, 42, 20)),
        (
            "wide.bmp",
            pictures::file(&pictures::picture(2, 43, 300), image::ImageFormat::Bmp),
        ),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_image_has_a_row_that_says_what_predict_says() {
    let server = with_model().await;
    let api = &server.api;
    let files = unlabelled();
    let archive = pictures::zip(files.iter().map(|(name, bytes)| (*name, bytes.clone())));
    let dataset = api.upload("fresh", archive).await;
    assert_eq!(
        (&dataset["status"], &dataset["layout"]),
        (&json!("ready"), &json!("unlabelled")),
        "{dataset:#}"
    );
    let job = succeeded(
        api,
        json!({"kind": "batch-predict", "model": "thing", "dataset": "fresh", "top_k": 3}),
    )
    .await;
    assert_job_tells_what_it_has_predicted(api, &job).await;

    let (_, headers, jsonl) = fetch(api, &path_of(&job), &[]).await;
    assert_eq!(headers["content-type"], "application/jsonl");
    assert_eq!(
        headers["content-disposition"],
        "attachment; filename=\"thing-predictions.jsonl\""
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(job["predictions"]["jsonl"]["bytes"], jsonl.len());
    let rows = rows(&jsonl);
    assert_eq!(rows.len(), 5);
    assert_rows_say_what_predict_says(api, &rows, &files).await;

    let (_, headers, csv) = fetch(api, &format!("{}?format=csv", path_of(&job)), &[]).await;
    assert_eq!(headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(
        headers["content-disposition"],
        "attachment; filename=\"thing-predictions.csv\""
    );
    assert_table_says_what_rows_say(&csv, &rows);
    server.stop().await;
}

async fn assert_job_tells_what_it_has_predicted(api: &Api, job: &Value) {
    let model = api.get("/v1/models/thing").await.expect(200).json();
    assert_eq!((&job["name"], &job["model"]), (&json!("thing"), &Value::Null));
    assert_eq!(
        (&job["spec"]["model"], &job["spec"]["split"]),
        (&model["id"], &json!("all"))
    );
    let predictions = &job["predictions"];
    assert_eq!(
        (&predictions["images"], &predictions["errors"]),
        (&json!(5), &json!(0))
    );
    assert_eq!(predictions["href"], path_of(job));
    assert_eq!(
        (&job["progress"]["step"], &job["progress"]["steps"]),
        (&json!(5), &json!(5))
    );
}

/// In the order of the images, and each as if it had been sent by itself.
async fn assert_rows_say_what_predict_says(
    api: &Api,
    rows: &[Value],
    files: &BTreeMap<&'static str, Vec<u8>>,
) {
    let images = api.get("/v1/datasets/fresh/images").await.expect(200).json();
    let images = images["data"].as_array().unwrap();
    for (row, image) in rows.iter().zip(images) {
        assert_eq!((&row["image"], &row["path"]), (&image["id"], &image["path"]));
        assert_eq!((&row["label"], &row["split"]), (&Value::Null, &image["split"]));
        let file = files[row["path"].as_str().unwrap()].clone();
        let answer = api
            .put("/v1/models/thing/predict?top_k=3", file)
            .await
            .expect(200)
            .json();
        let pairs = row["predictions"].as_array().unwrap().iter();
        let pairs: Vec<_> = pairs.zip(answer["predictions"].as_array().unwrap()).collect();
        assert_eq!(pairs.len(), 3);
        for (row, asked) in pairs {
            assert_eq!((&row["label"], &row["index"]), (&asked["label"], &asked["index"]));
            let apart = row["probability"].as_f64().unwrap() - asked["probability"].as_f64().unwrap();
            assert!(apart.abs() < 1e-5, "{row} {asked}");
        }
    }
}

/// The likeliest class of each, and no cell that a table's program would compute.
fn assert_table_says_what_rows_say(csv: &str, rows: &[Value]) {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let cells: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(cells.len(), 5);
    for (cells, row) in cells.iter().zip(rows) {
        let path = row["path"].as_str().unwrap();
        let harmless = if path.starts_with('=') {
            format!("'{path}")
        } else {
            path.to_owned()
        };
        assert_eq!(cells[1], harmless);
        assert_eq!(cells[4], *row["predictions"][0]["label"].as_str().unwrap());
        assert_eq!(
            cells[5].parse::<f64>().ok(),
            row["predictions"][0]["probability"].as_f64()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_are_downloads_like_any_other() {
    let server = with_model().await;
    let api = &server.api;
    let spec =
        json!({"kind": "batch-predict", "model": "thing", "dataset": "things", "split": "val", "top_k": 1});
    let job = succeeded(api, spec).await;
    assert_eq!(job["predictions"]["images"], 6);
    let path = path_of(&job);
    let (_, headers, whole) = fetch(api, &path, &[]).await;
    for row in rows(&whole) {
        let folder = row["path"].as_str().unwrap().split('/').next().unwrap();
        assert_eq!((&row["label"], &row["split"]), (&json!(folder), &json!("val")));
    }
    let tag = headers["etag"].to_str().unwrap();
    assert_eq!(
        tag,
        format!("\"{}\"", job["predictions"]["jsonl"]["sha256"].as_str().unwrap())
    );
    assert_eq!(headers["accept-ranges"], "bytes");

    let (status, headers, none) = fetch(api, &path, &[("if-none-match", tag)]).await;
    assert_eq!(
        (status, none.as_str(), &headers["etag"]),
        (304, "", &tag.parse().unwrap())
    );
    let (status, headers, part) = fetch(api, &path, &[("range", "bytes=5-24")]).await;
    assert_eq!((status, part.as_str()), (206, &whole[5..25]));
    assert_eq!(headers["content-range"], format!("bytes 5-24/{}", whole.len()));
    let resumed = [("range", "bytes=25-"), ("if-range", tag)];
    let (status, _, rest) = fetch(api, &path, &resumed).await;
    assert_eq!((status, rest.as_str()), (206, &whole[25..]));
    let changed = [("range", "bytes=25-"), ("if-range", "\"another\"")];
    let (status, _, again) = fetch(api, &path, &changed).await;
    assert_eq!((status, again.len()), (200, whole.len()));
    let behind = format!("bytes={}-", whole.len());
    let request = api.request(Method::GET, &path).header("range", behind);
    let refused = api.send(request).await;
    refused.problem(416, "range-not-satisfiable");
    assert_eq!(
        refused.headers["content-range"],
        format!("bytes */{}", whole.len())
    );

    let (_, headers, csv) = fetch(api, &path, &[("accept", "text/csv")]).await;
    assert_eq!(headers["content-type"], "text/csv; charset=utf-8");
    assert!(
        csv.starts_with("image,path,split,label,predicted,probability,error\r\n"),
        "{csv}"
    );
    let (_, headers, same) = fetch(api, &path, &[("accept", "application/x-ndjson")]).await;
    assert_eq!(
        (headers["content-type"].to_str().unwrap(), same == whole),
        ("application/x-ndjson", true)
    );
    let head = api.request(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], whole.len().to_string());
    api.get(&format!("{path}?format=xml"))
        .await
        .problem(400, "query-invalid");

    // Deleted with its job.
    api.delete(&format!("/v1/jobs/{}", job["id"].as_str().unwrap()))
        .await
        .expect(204);
    api.get(&path).await.problem(404, "not-found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_predicted_is_refused_with_every_fault() {
    let server = with_model().await;
    let api = &server.api;
    let faults = async |document: Value| {
        let problem = api.post("/v1/jobs", document).await.problem(422, "invalid");
        let faults = problem["errors"].as_array().unwrap().iter();
        let pair = |fault: &Value| json!([fault["pointer"], fault["code"]]);
        Value::from_iter(faults.map(pair))
    };
    assert_eq!(
        faults(json!({"kind": "batch-predict", "model": "nothing", "dataset": "nowhere"})).await,
        json!([["/model", "not_found"], ["/dataset", "not_found"]])
    );
    assert_eq!(
        faults(json!({"kind": "batch-predict", "model": "thing", "dataset": "things", "top_k": 1001, "split": "best"})).await,
        json!([["/split", "range"], ["/top_k", "range"]])
    );
    let unreadable = api
        .upload("unreadable", pictures::zip([("a.txt", b"words".to_vec())]))
        .await;
    assert_eq!(unreadable["status"], "failed");
    let id = unreadable["id"].as_str().unwrap();
    assert_eq!(
        faults(json!({"kind": "batch-predict", "model": "thing", "dataset": id})).await,
        json!([["/dataset", "dataset_failed"]])
    );
    let schema = api.get("/v1/schemas/job").await.expect(200).json();
    let kinds = schema["oneOf"].as_array().unwrap();
    let described = kinds
        .iter()
        .find(|kind| kind["title"] == "batch-predict")
        .unwrap();
    assert_eq!(described["properties"]["top_k"]["default"], 5);

    // A job of another kind has none, and one that ended without has none either.
    api.get("/v1/jobs/thing/predictions")
        .await
        .problem(404, "no-predictions");
    let test = json!({"kind": "batch-predict", "model": "thing", "dataset": "things", "split": "test"});
    let job = api.finished(&api.submit(test).await).await;
    assert_eq!(
        (&job["status"], &job["error"]["code"], &job["predictions"]),
        (&json!("failed"), &json!("invalid_data"), &Value::Null)
    );
    api.get(&path_of(&job)).await.problem(404, "no-predictions");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_its_end_a_job_has_no_predictions_yet() {
    let server = with_model().await;
    // Started again with a worker that tells of progress and then does nothing until it is told to leave.
    let folder = tempfile::tempdir().unwrap();
    let worker = folder.path().join("worker");
    let script = r#"#!/bin/sh
task=$1
[ "$task" = run ] && task=$(sed -n 's/^  "kind": "\([a-z_]*\)".*/\1/p;T;q' run.json)
case "$task" in
devices) echo '[{"name":"cpu","description":"a stand-in","threads":1,"memory_bytes":1}]' ;;
batch_predict)
    echo '{"message":"progress","progress":{"epoch":1,"epochs":1,"step":3,"steps":24,"images_per_second":9.5,"eta_seconds":2}}'
    cat > /dev/null
    exit 75 ;;
esac
"#;
    // Another process writes it: what one of ours holds open a child that another test starts would hold too, and then it cannot be run.
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
        .arg(&worker)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    let server = Server::on(server.stop().await, |config| config.worker = Some(worker)).await;
    let api = &server.api;
    let spec = json!({"kind": "batch-predict", "model": "thing", "dataset": "things"});
    let job = api.submit(spec).await;
    api.get(&path_of(&job))
        .await
        .problem(409, "predictions-not-ready");

    let job_path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let events = api.open_stream(&format!("{job_path}/events"), None).await;
    let progress = Stream::of(events).until("progress").await.data;
    assert_eq!((&progress["step"], &progress["steps"]), (&json!(3), &json!(24)));
    api.get(&path_of(&job))
        .await
        .problem(409, "predictions-not-ready");
    let cancel = api.request(Method::POST, &format!("{job_path}/cancel"));
    api.send(cancel).await;
    let job = api.finished(&job).await;
    assert_eq!(
        (&job["status"], &job["predictions"]),
        (&json!("cancelled"), &Value::Null)
    );
    api.get(&path_of(&job)).await.problem(404, "no-predictions");
    server.stop().await;
}
