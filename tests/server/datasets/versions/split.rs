//! A split is a version like any other, with the place of every image in it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{change, images};
use crate::support::{Server, pictures};

#[tokio::test(flavor = "multi_thread")]
async fn a_split_is_stored_with_every_image_and_counted() {
    let server = Server::start().await;
    let api = &server.api;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for class in 0..2 {
        for index in 0..10 {
            files.push((
                format!("c{class}/p{}_{index}.png", index / 2),
                pictures::png(class, index, 40),
            ));
        }
        // A twin of the first.
        files.push((format!("c{class}/p9_twin.png"), pictures::png(class, 0, 40)));
        files.push((format!("c{class}/p8_last.png"), pictures::png(class, 11, 40)));
    }
    let archive = pictures::zip(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    api.upload("things", archive).await;
    let path = "/v1/datasets/things/split";
    let spec = json!({"val": 0.25, "test": 0.25, "seed": 4});
    let answer = change(api, Method::POST, path, spec.clone(), Some("\"v1\""))
        .await
        .expect(201);
    assert!(
        answer.headers["location"]
            .to_str()
            .unwrap()
            .ends_with("/versions/2")
    );
    let dataset = answer.json();
    assert_eq!(dataset["splits"], json!({"train": 12, "val": 6, "test": 6}));
    assert_eq!(
        [0, 1].map(|class| &dataset["classes"][class]["splits"]),
        [&json!({"train": 6, "val": 3, "test": 3}); 2]
    );
    let all = images(api, "").await;
    let of = |image: &Value| {
        (
            image["class"].clone(),
            image["split"].clone(),
            image["sha256"].clone(),
        )
    };
    for image in &all {
        for twin in all.iter().filter(|twin| twin["sha256"] == image["sha256"]) {
            assert_eq!(of(twin), of(image), "twins lie on one side");
        }
    }
    assert_eq!(images(api, "&split=val&class=c1").await.len(), 3);
    let same = change(api, Method::POST, path, spec, None)
        .await
        .expect(200)
        .json();
    assert_eq!(same, dataset, "the same wish is fulfilled already");
    let version = api.get("/v1/datasets/things/versions/2").await.expect(200).json();
    assert_eq!(
        (&version["change"]["kind"], &version["change"]["split"]["seed"]),
        (&json!("split"), &json!(4))
    );

    let grouped = json!({"val": 0.3, "seed": 1, "group_by": {"separator": "_", "parts": 1}});
    change(api, Method::POST, path, grouped, None).await.expect(201);
    let all = images(api, "").await;
    let group = |image: &Value| {
        image["path"]
            .as_str()
            .unwrap()
            .split(['/', '_'])
            .nth(1)
            .unwrap()
            .to_owned()
    };
    for image in &all {
        for other in all.iter().filter(|other| group(other) == group(image)) {
            assert_eq!(other["split"], image["split"], "groups lie on one side");
        }
    }
    assert!(all.iter().any(|image| image["split"] == "val"));
    change(api, Method::POST, path, json!({"val": 0.99}), None)
        .await
        .problem(422, "invalid");
    change(api, Method::POST, path, json!({"share": 0.2}), None)
        .await
        .problem(422, "invalid");
    server.stop().await;
}
