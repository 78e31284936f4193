//! Versions of datasets: every change makes one, none ever changes, and what was made from one says which.

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::Value;

use crate::support::{Api, Server, api::Answer, pictures};

mod additions;
mod batches;
mod labels;
mod pins;
mod split;

/// A server with the dataset `things` of two classes with so many images each, and what was answered to its upload.
async fn with_things(each: usize) -> (Server, Value) {
    let server = Server::start().await;
    let dataset = server.api.upload("things", pictures::flat_archive(2, each)).await;
    (server, dataset)
}

/// The pages of a version's images, as one list.
async fn images(api: &Api, query: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all
            .last()
            .map_or(String::new(), |last| format!("&after={}", last["id"]));
        let page = api
            .get(&format!("/v1/datasets/things/images?limit=3{query}{after}"))
            .await
            .expect(200)
            .json();
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        if page["has_more"] == false {
            assert_eq!(page["total"], all.len(), "the total is exact");
            return all;
        }
    }
}

async fn change(api: &Api, method: Method, path: &str, body: Value, if_match: Option<&str>) -> Answer {
    let mut request = api.request(method, path);
    if !body.is_null() {
        request = request.json(&body);
    }
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    api.send(request).await
}

async fn add(api: &Api, query: &str, files: Vec<(&str, Vec<u8>)>) -> Answer {
    let mut form = Form::new().text("note", "these are mine");
    for (name, bytes) in files {
        form = form.part("file", Part::bytes(bytes).file_name(name.to_owned()));
    }
    let request = api.request(Method::POST, &format!("/v1/datasets/things/images{query}"));
    api.send(request.multipart(form)).await
}

fn names(dataset: &Value) -> Vec<&str> {
    let classes = dataset["classes"].as_array().unwrap();
    classes
        .iter()
        .map(|class| class["name"].as_str().unwrap())
        .collect()
}

/// Changes the first image.
async fn edit(api: &Api, body: Value, if_match: Option<&str>) -> Answer {
    change(api, Method::PATCH, "/v1/datasets/things/images/0", body, if_match).await
}
