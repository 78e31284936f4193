//! The registry: aliases that are moved while they are asked, names, metadata, where a model comes from.

use reqwest::Method;
use serde_json::{Value, json};

use super::{quick, train};
use crate::support::{Api, Server, api::Answer, pictures};

mod aliases;
mod load;
mod names;
mod records;

/// A server with two models whose classes have nothing in common: `thing` of `class-0` and `class-1`, `insect` of `ants`, `bees` and
/// `wasps`.
async fn with_two_models() -> (Server, [Value; 2]) {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    let insects: Vec<(String, Vec<u8>)> = ["ants", "bees", "wasps"]
        .iter()
        .enumerate()
        .flat_map(|(class, name)| {
            (0..8).map(move |index| (format!("{name}/{index}.png"), pictures::png(class, index, 40)))
        })
        .collect();
    let insects = pictures::zip(insects.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    api.upload("insects", insects).await;
    let first = train(api, quick()).await;
    let mut spec = quick();
    spec["dataset"] = json!("insects");
    spec["name"] = json!("insect");
    let second = train(api, spec).await;
    (server, [first, second])
}

fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap()
}

async fn call(api: &Api, method: Method, path: &str, body: Value, header: Option<(&str, &str)>) -> Answer {
    let mut request = api.request(method, path);
    if !body.is_null() {
        request = request.json(&body);
    }
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    api.send(request).await
}

async fn promote(api: &Api, alias: &str, model: &str) -> Answer {
    call(
        api,
        Method::PUT,
        &format!("/v1/aliases/{alias}"),
        json!({"model": model}),
        None,
    )
    .await
}

async fn roll_back(api: &Api, alias: &str) -> Answer {
    call(
        api,
        Method::POST,
        &format!("/v1/aliases/{alias}/rollback"),
        Value::Null,
        None,
    )
    .await
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}
