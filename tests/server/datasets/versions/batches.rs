//! Many changes at once, and many at the same time.

use reqwest::Method;
use serde_json::{Value, json};

use super::{change, edit, images, names, with_things};
use crate::support::Api;

const IMAGES: &str = "/v1/datasets/things/images";

/// Four changes of six images; gives the version that they make.
async fn edited(api: &Api) -> Value {
    let edits = json!({"images": [
        {"id": 0, "class": "class-1"}, {"id": 1, "split": "val"}, {"id": 2, "remove": true}, {"id": 5, "class": " <b>", "split": "test"}
    ]});
    change(api, Method::PATCH, IMAGES, edits, None)
        .await
        .expect(200)
        .json()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_are_one_version() {
    let (server, _) = with_things(3).await;
    let api = &server.api;
    let second = edited(api).await;
    assert_eq!((&second["version"], &second["images"]), (&json!(2), &json!(5)));
    assert_eq!(second["splits"], json!({"train": 3, "val": 1, "test": 1}));
    assert_eq!(names(&second), ["<b>", "class-0", "class-1"]);
    assert_eq!(
        second["classes"][0]["splits"],
        json!({"train": 0, "val": 0, "test": 1})
    );
    let made = api.get("/v1/datasets/things/versions/2").await.expect(200).json();
    assert_eq!(
        made["change"],
        json!({"kind": "edit", "added": 0, "removed": 1, "relabelled": 2, "moved": 2})
    );
    let ids: Vec<_> = images(api, "")
        .await
        .iter()
        .map(|image| image["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [0, 1, 3, 4, 5]);
    server.stop().await;
}

/// One that is not there, or not right, and nothing happens.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_made_leaves_the_dataset_as_it_is() {
    let (server, _) = with_things(3).await;
    let api = &server.api;
    let second = edited(api).await;
    let refused = change(
        api,
        Method::PATCH,
        IMAGES,
        json!({"images": [{"id": 0, "class": "x"}, {"id": 2, "class": "x"}]}),
        None,
    )
    .await
    .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/images/1/id");
    let refused = change(
        api,
        Method::PATCH,
        IMAGES,
        json!({"images": [{"id": 0, "class": "../up"}]}),
        None,
    )
    .await
    .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/images/0/class");
    for (id, body) in [
        ("2", json!({"class": "x"})),
        ("99", json!({"class": "x"})),
        ("x", json!({"class": "x"})),
    ] {
        let gone = format!("{IMAGES}/{id}");
        change(api, Method::PATCH, &gone, body, None)
            .await
            .problem(404, "not-found");
        change(api, Method::DELETE, &gone, Value::Null, None)
            .await
            .problem(404, "not-found");
    }
    edit(api, json!({}), None).await.problem(422, "invalid");
    edit(api, json!({"class": "x"}), Some("v2"))
        .await
        .problem(400, "if-match-invalid");
    let all: Vec<Value> = [0, 1, 3, 4, 5]
        .iter()
        .map(|id| json!({"id": id, "remove": true}))
        .collect();
    change(api, Method::PATCH, IMAGES, json!({"images": all}), None)
        .await
        .problem(422, "dataset-empty");
    assert_eq!(api.get("/v1/datasets/things").await.expect(200).json(), second);
    server.stop().await;
}

/// Of those that insist on one version, one is made.
#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_same_time_are_made_one_after_another() {
    let (server, _) = with_things(3).await;
    let api = &server.api;
    edited(api).await;
    let removed = change(
        api,
        Method::DELETE,
        "/v1/datasets/things/images/0",
        Value::Null,
        None,
    )
    .await
    .expect(204);
    assert!(removed.headers["etag"].to_str().unwrap().starts_with("\"v3."));
    let edit = |id: u32, tag: Option<&'static str>| {
        change(
            api,
            Method::PATCH,
            IMAGES,
            json!({"images": [{"id": id, "class": format!("of {id}")}]}),
            tag,
        )
    };
    let (one, other, third) = tokio::join!(edit(1, None), edit(3, None), edit(4, None));
    assert_eq!([one.status, other.status, third.status], [200; 3]);
    let dataset = api.get("/v1/datasets/things").await.expect(200).json();
    assert_eq!(
        (&dataset["version"], names(&dataset)),
        (&json!(6), vec!["<b>", "of 1", "of 3", "of 4"])
    );
    let swap = |class: &'static str| {
        change(
            api,
            Method::PATCH,
            IMAGES,
            json!({"images": [{"id": 1, "class": class}]}),
            Some("\"v6\""),
        )
    };
    let (one, other) = tokio::join!(swap("x"), swap("y"));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    server.stop().await;
}
