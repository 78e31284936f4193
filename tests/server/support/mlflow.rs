//! A tracking server in the manner of MLflow, on this machine: the calls of its REST API that logging a run needs, and its rules for them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A run as it is kept.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub name: String,
    pub status: String,
    pub start: i64,
    pub end: i64,
    pub params: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    /// By key: time, step, value.
    pub metrics: BTreeMap<String, Vec<(i64, u64, f64)>>,
}

#[derive(Default)]
struct Books {
    experiments: Vec<String>,
    runs: Vec<Run>,
    /// What the next calls come to.
    faults: VecDeque<Fault>,
    tokens: Vec<Option<String>>,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// What was asked for is done, and the answer is lost.
    AnswerLost,
    None,
}

#[derive(Clone, Default)]
pub struct Mlflow {
    pub base: String,
    books: Arc<Mutex<Books>>,
}

impl Mlflow {
    pub async fn start() -> Self {
        let mut mlflow = Self::default();
        let router = Router::new()
            .route("/api/2.0/mlflow/{kind}/{call}", get(by_name).post(call))
            .with_state(mlflow.books.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        mlflow.base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        mlflow
    }

    pub fn fail(&self, faults: &[Fault]) {
        self.books.lock().unwrap().faults.extend(faults);
    }

    pub fn experiments(&self) -> Vec<String> {
        self.books.lock().unwrap().experiments.clone()
    }

    pub fn runs(&self) -> Vec<Run> {
        self.books.lock().unwrap().runs.clone()
    }

    /// The `Authorization` of each call.
    pub fn tokens(&self) -> Vec<Option<String>> {
        self.books.lock().unwrap().tokens.clone()
    }
}

type Answer = (StatusCode, Json<Value>);

fn refuse(code: &str) -> Answer {
    let status = match code {
        "RESOURCE_DOES_NOT_EXIST" => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, Json(json!({"error_code": code, "message": "as it says"})))
}

fn faulty(books: &Mutex<Books>, headers: &HeaderMap, act: impl FnOnce(&mut Books) -> Answer) -> Response {
    let mut books = books.lock().unwrap();
    let token = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned());
    books.tokens.push(token);
    match books.faults.pop_front().unwrap_or(Fault::None) {
        Fault::AnswerLost => {
            let _ = act(&mut books);
            StatusCode::BAD_GATEWAY.into_response()
        }
        Fault::None => act(&mut books).into_response(),
    }
}

async fn by_name(
    State(books): State<Arc<Mutex<Books>>>,
    Path((kind, call)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    assert_eq!((kind.as_str(), call.as_str()), ("experiments", "get-by-name"));
    faulty(&books, &headers, |books| {
        let found = books
            .experiments
            .iter()
            .position(|name| *name == query["experiment_name"]);
        match found {
            Some(id) => (
                StatusCode::OK,
                Json(json!({"experiment": {"experiment_id": id.to_string()}})),
            ),
            None => refuse("RESOURCE_DOES_NOT_EXIST"),
        }
    })
}

async fn call(
    State(books): State<Arc<Mutex<Books>>>,
    Path((kind, call)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    faulty(&books, &headers, |books| match (kind.as_str(), call.as_str()) {
        ("experiments", "create") => create_experiment(books, &body),
        ("runs", "search") => search(books, &body),
        ("runs", "create") => create_run(books, &body),
        ("runs", "log-batch") => log_batch(books, &body),
        ("runs", "update") => update(books, &body),
        other => panic!("{other:?}"),
    })
}

fn create_experiment(books: &mut Books, body: &Value) -> Answer {
    let name = body["name"].as_str().unwrap().to_owned();
    if books.experiments.contains(&name) {
        return refuse("RESOURCE_ALREADY_EXISTS");
    }
    books.experiments.push(name);
    (
        StatusCode::OK,
        Json(json!({"experiment_id": (books.experiments.len() - 1).to_string()})),
    )
}

fn shown(id: usize, run: &Run) -> Value {
    let tags: Vec<Value> = run
        .tags
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    json!({"info": {"run_id": id.to_string(), "status": run.status}, "data": {"tags": tags}})
}

/// tags.`KEY` = 'VALUE'
fn search(books: &mut Books, body: &Value) -> Answer {
    assert_eq!(body["experiment_ids"], json!(["0"]));
    let filter = body["filter"].as_str().unwrap();
    let (key, value) = filter
        .strip_prefix("tags.`")
        .unwrap()
        .split_once("` = '")
        .unwrap();
    let value = value.strip_suffix('\'').unwrap();
    let found = books
        .runs
        .iter()
        .enumerate()
        .filter(|(_, run)| run.tags.get(key).is_some_and(|found| found == value));
    let runs: Vec<Value> = found.map(|(id, run)| shown(id, run)).collect();
    match runs.is_empty() {
        // As MLflow leaves out what is empty.
        true => (StatusCode::OK, Json(json!({}))),
        false => (StatusCode::OK, Json(json!({"runs": runs}))),
    }
}

fn entries(list: &Value) -> impl Iterator<Item = (String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.as_array()
        .unwrap()
        .iter()
        .map(move |one| (text(&one["key"]), text(&one["value"])))
}

fn create_run(books: &mut Books, body: &Value) -> Answer {
    let run = Run {
        name: body["run_name"].as_str().unwrap().to_owned(),
        status: "RUNNING".to_owned(),
        start: body["start_time"].as_i64().unwrap(),
        tags: entries(&body["tags"]).collect(),
        ..Run::default()
    };
    books.runs.push(run);
    let id = books.runs.len() - 1;
    (StatusCode::OK, Json(json!({"run": shown(id, &books.runs[id])})))
}

fn of<'b>(books: &'b mut Books, body: &Value) -> &'b mut Run {
    let id: usize = body["run_id"].as_str().unwrap().parse().unwrap();
    &mut books.runs[id]
}

fn log_batch(books: &mut Books, body: &Value) -> Answer {
    let (metrics, params) = (
        body["metrics"].as_array().unwrap(),
        body["params"].as_array().unwrap(),
    );
    assert!(metrics.len() <= 1000 && params.len() <= 100 && body.to_string().len() <= 1 << 20);
    let run = of(books, body);
    for (key, value) in entries(&body["params"]) {
        assert!(value.len() <= 500, "{key}");
        if run.params.get(&key).is_some_and(|before| *before != value) {
            return refuse("INVALID_PARAMETER_VALUE");
        }
        run.params.insert(key, value);
    }
    for metric in metrics {
        let key = metric["key"].as_str().unwrap();
        assert!(
            key.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-. /".contains(c)),
            "{key}"
        );
        let point = (
            metric["timestamp"].as_i64().unwrap(),
            metric["step"].as_u64().unwrap(),
            metric["value"].as_f64().unwrap(),
        );
        let points = run.metrics.entry(key.to_owned()).or_default();
        // As its tables have it: the same point twice is one.
        if !points.contains(&point) {
            points.push(point);
        }
    }
    run.tags.extend(entries(&body["tags"]));
    (StatusCode::OK, Json(json!({})))
}

fn update(books: &mut Books, body: &Value) -> Answer {
    let run = of(books, body);
    run.status = body["status"].as_str().unwrap().to_owned();
    run.end = body["end_time"].as_i64().unwrap();
    (StatusCode::OK, Json(json!({"run_info": {}})))
}
