//! One label is changed: what there was stays, and who has seen an old version is told.

use reqwest::Method;
use serde_json::{Value, json};

use super::{change, edit, images, names, with_things};
use crate::support::Api;

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_label_makes_the_next_version_and_the_one_before_stays() {
    let (server, first) = with_things(4).await;
    let api = &server.api;
    assert_eq!(
        (&first["version"], &first["latest_version"]),
        (&json!(1), &json!(1))
    );
    let before = images(api, "").await;
    assert_eq!(before.len(), 8);
    assert_eq!(
        (&before[0]["path"], &before[0]["class"], &before[0]["width"]),
        (&json!("class-0/000.png"), &json!("class-0"), &json!(40))
    );

    let changed = edit(api, json!({"class": "a new one"}), Some("\"v1\""))
        .await
        .expect(200);
    assert!(changed.headers["etag"].to_str().unwrap().starts_with("\"v2."));
    let second = changed.json();
    assert_eq!(
        (&second["version"], &second["latest_version"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(names(&second), ["a new one", "class-0", "class-1"]);
    assert_eq!(second["classes"][0]["images"], 1);
    assert_ne!(second["content_sha256"], first["content_sha256"]);
    assert_eq!(
        (&second["sha256"], &second["images"]),
        (&first["sha256"], &json!(8))
    );

    assert_first_version_is_what_it_was(api, &first, &before).await;
    let after = images(api, "").await;
    assert_eq!(
        (&after[0]["class"], &after[0]["sha256"]),
        (&json!("a new one"), &before[0]["sha256"])
    );
    assert_eq!(after[1..], before[1..]);
    assert_eq!(images(api, "&class=class-0").await.len(), 3);
    assert_eq!(images(api, "&class=class-1&split=train").await.len(), 4);
    assert_eq!(images(api, "&split=val").await.len(), 0);
    server.stop().await;
}

async fn assert_first_version_is_what_it_was(api: &Api, first: &Value, before: &[Value]) {
    let old = api.get("/v1/datasets/things?version=1").await.expect(200);
    assert!(old.headers["etag"].to_str().unwrap().starts_with("\"v1."));
    let old = old.json();
    assert_eq!(
        (&old["content_sha256"], &old["latest_version"]),
        (&first["content_sha256"], &json!(2))
    );
    assert_eq!(old["classes"], first["classes"]);
    assert_eq!(images(api, "&version=1").await, before);
    let named = api.get("/v1/datasets/things@1").await.expect(200).json();
    assert_eq!(named, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_so_already_makes_no_version_and_who_has_seen_an_old_one_is_told() {
    let (server, first) = with_things(4).await;
    let api = &server.api;
    edit(api, json!({"class": "a new one"}), None).await.expect(200);
    let same = edit(api, json!({"class": "a new one", "split": "train"}), None)
        .await
        .expect(200);
    assert_eq!(same.json()["version"], 2);
    edit(api, json!({"class": "class-0"}), Some("\"v1\""))
        .await
        .problem(412, "version-changed");
    change(
        api,
        Method::DELETE,
        "/v1/datasets/things@1/images/0",
        Value::Null,
        None,
    )
    .await
    .problem(412, "version-changed");
    let back = edit(api, json!({"class": "class-0"}), Some("\"v1\", \"v2\""))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&back["version"], &back["content_sha256"]),
        (&json!(3), &first["content_sha256"])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_with_what_was_changed() {
    let (server, _) = with_things(4).await;
    let api = &server.api;
    for class in ["a new one", "class-0"] {
        edit(api, json!({"class": class}), None).await.expect(200);
    }
    let list = api
        .get("/v1/datasets/things/versions?order=asc")
        .await
        .expect(200)
        .json();
    let kinds: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| &version["change"]["kind"])
        .collect();
    assert_eq!(kinds, ["upload", "edit", "edit"]);
    assert_eq!(list["data"][1]["change"]["relabelled"], 1);
    let page = api
        .get("/v1/datasets/things/versions?after=2")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (
            page["data"].as_array().unwrap().len(),
            &page["data"][0]["version"]
        ),
        (1, &json!(1))
    );
    let second = api.get("/v1/datasets/things/versions/2").await.expect(200).json();
    assert_eq!(
        second["classes"][0]["splits"],
        json!({"train": 1, "val": 0, "test": 0})
    );
    api.get("/v1/datasets/things/versions/4")
        .await
        .problem(404, "not-found");
    api.get("/v1/datasets/things?version=4")
        .await
        .problem(404, "not-found");
    api.get("/v1/datasets/things@x").await.problem(404, "not-found");
    server.stop().await;
}
