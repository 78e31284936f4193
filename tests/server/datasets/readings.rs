//! How archives are read: options at upload and afterwards, dry runs, what was understood.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Server, pictures};

/// An archive of images at these paths, and of texts.
fn archive(paths: &[&str], texts: &[(&str, &str)]) -> Vec<u8> {
    let images = paths
        .iter()
        .enumerate()
        .map(|(number, path)| (*path, pictures::png(number % 3, number, 40)));
    let texts = texts.iter().map(|(path, text)| (*path, text.as_bytes().to_vec()));
    pictures::zip(images.chain(texts))
}

/// Class folders on two levels.
fn two_levels() -> Vec<u8> {
    archive(
        &[
            "poodle/indoor/1.png",
            "poodle/outdoor/2.png",
            "beagle/indoor/3.png",
            "beagle/outdoor/4.png",
        ],
        &[],
    )
}

fn class_names(dataset: &Value) -> Vec<&str> {
    let classes = dataset["classes"].as_array().unwrap();
    classes
        .iter()
        .map(|class| class["name"].as_str().unwrap())
        .collect()
}

async fn reread(api: &Api, name: &str, options: Value) -> Value {
    api.post(&format!("/v1/datasets/{name}/reread"), options)
        .await
        .expect(202);
    api.get(&format!("/v1/datasets/{name}?wait=60"))
        .await
        .expect(200)
        .json()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_read_again_in_a_way_that_was_offered() {
    let server = Server::start().await;
    let first = server.api.upload("dogs", two_levels()).await;
    assert_eq!(class_names(&first), ["beagle", "poodle"]);
    let warnings = first["report"]["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| warning["code"] == "repeated_folders"),
        "{warnings:#?}"
    );
    let offered = &first["report"]["readings"][0];
    assert_eq!(offered["class_names"], json!(["indoor", "outdoor"]));

    let path = "/v1/datasets/dogs/reread";
    let dry = server
        .api
        .post(&format!("{path}?dry_run=true"), offered["options"].clone())
        .await;
    let dry = dry.expect(200).json();
    assert_eq!(
        (class_names(&dry), &dry["images"]),
        (vec!["indoor", "outdoor"], &json!(4))
    );
    assert_eq!(
        server.api.get("/v1/datasets/dogs").await.expect(200).json()["version"],
        1
    );

    let second = reread(&server.api, "dogs", offered["options"].clone()).await;
    assert_eq!(
        (class_names(&second), &second["version"]),
        (vec!["indoor", "outdoor"], &json!(2))
    );
    let versions = server
        .api
        .get("/v1/datasets/dogs/versions")
        .await
        .expect(200)
        .json();
    let change = &versions["data"][0]["change"];
    assert_eq!(
        (&change["kind"], &change["added"], &change["removed"]),
        (&json!("reread"), &json!(4), &json!(4))
    );
    // The version before is what it was, and ids are given once.
    let before = server.api.get("/v1/datasets/dogs@1").await.expect(200).json();
    assert_eq!(class_names(&before), ["beagle", "poodle"]);
    let ids = |list: Value| -> Vec<i64> {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["id"].as_i64().unwrap())
            .collect()
    };
    let old = server
        .api
        .get("/v1/datasets/dogs/images?version=1")
        .await
        .expect(200)
        .json();
    let new = server
        .api
        .get("/v1/datasets/dogs/images")
        .await
        .expect(200)
        .json();
    assert_eq!((ids(old), ids(new)), (vec![0, 1, 2, 3], vec![4, 5, 6, 7]));
    server
        .api
        .get("/v1/datasets/dogs/images/0?version=1")
        .await
        .expect(200);
    server.api.get("/v1/datasets/dogs/images/5").await.expect(200);
    // A change goes on from the newest.
    let edit = server
        .api
        .request(Method::PATCH, "/v1/datasets/dogs/images/4")
        .json(&json!({"class": "outdoor"}));
    server.api.send(edit).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_come_with_an_upload_too() {
    let server = Server::start().await;
    let labels = "image,kind\n1.png,x\n2.png,y\n3.png,x\n4.png,y\n";
    let archive = archive(
        &["i/a/1.png", "i/a/2.png", "i/b/3.png", "i/b/4.png"],
        &[("labels.csv", labels)],
    );
    let query = "name=things&classes=table&table=labels.csv&label_column=kind";
    let dry = server
        .api
        .put(&format!("/v1/datasets?{query}&dry_run=true"), archive.clone())
        .await;
    assert_eq!(class_names(&dry.expect(200).json()), ["x", "y"]);
    server
        .api
        .get("/v1/datasets/things")
        .await
        .problem(404, "not-found");
    server
        .api
        .put(&format!("/v1/datasets?{query}"), archive.clone())
        .await
        .expect(201);
    let dataset = server
        .api
        .get("/v1/datasets/things?wait=60")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (class_names(&dataset), &dataset["layout"]),
        (vec!["x", "y"], &json!("manifest"))
    );
    assert_eq!(dataset["report"]["reading"]["label_column"], "kind");
    // The same again is the same; the same archive to be read otherwise is not.
    server
        .api
        .put(&format!("/v1/datasets?{query}"), archive.clone())
        .await
        .expect(200);
    let otherwise = server
        .api
        .put("/v1/datasets?name=things&classes=folders", archive)
        .await;
    let problem = otherwise.problem(409, "other-options");
    assert!(
        problem["detail"].as_str().unwrap().contains("/reread"),
        "{problem}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_do_not_fit_are_refused_and_nothing_changes() {
    let server = Server::start().await;
    server.api.upload("dogs", two_levels()).await;
    let path = "/v1/datasets/dogs/reread";
    let faults = server
        .api
        .post(path, json!({"classes": "folders", "level": 0, "colour": "red"}))
        .await;
    let problem = faults.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "/colour");
    let missing = server
        .api
        .post(path, json!({"classes": "table", "table": "labels.csv"}))
        .await;
    let problem = missing.problem(422, "archive-refused");
    assert!(problem["detail"].as_str().unwrap().contains("table"), "{problem}");
    for query in [
        "level=2",
        "classes=folders&level=x",
        "splits=train",
        "separator=%3B",
        "name_encoding=klingon",
    ] {
        server
            .api
            .put(&format!("/v1/datasets?name=new&{query}"), two_levels())
            .await
            .problem(422, "invalid");
    }
    let dataset = server.api.get("/v1/datasets/dogs").await.expect(200).json();
    assert_eq!(
        (&dataset["status"], &dataset["version"]),
        (&json!("ready"), &json!(1))
    );
    // No image is left: that is known only once the pixels are read, and then everything is as before.
    let all_ignored = json!({"splits": {"poodle": "ignore", "beagle": "ignore"}});
    let after = reread(&server.api, "dogs", all_ignored).await;
    assert_eq!(
        (&after["status"], &after["version"], &after["error"]["code"]),
        (&json!("ready"), &json!(1), &json!("no_images"))
    );
    assert_eq!(class_names(&after), ["beagle", "poodle"]);
    let again = reread(&server.api, "dogs", json!({})).await;
    assert_eq!((&again["version"], &again["error"]), (&json!(2), &Value::Null));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_dataset_is_read_again_and_a_job_needs_a_class_in_both_splits() {
    let server = Server::start().await;
    let archive = archive(
        &[
            "train/a/1.png",
            "train/b/2.png",
            "val/x/3.png",
            "val/y/4.png",
            "old/c/5.png",
        ],
        &[],
    );
    let put = server
        .api
        .put(
            "/v1/datasets?name=bad&splits=train:ignore,val:ignore,old:ignore",
            archive,
        )
        .await;
    put.expect(201);
    let failed = server
        .api
        .get("/v1/datasets/bad?wait=60")
        .await
        .expect(200)
        .json();
    assert_eq!(failed["status"], "failed");
    let id = failed["id"].as_str().unwrap();
    let read = reread(&server.api, id, json!({})).await;
    assert_eq!(
        (&read["status"], &read["version"]),
        (&json!("ready"), &json!(1)),
        "{read:#}"
    );
    let problem = server
        .api
        .post("/v1/jobs", json!({"dataset": "bad"}))
        .await
        .problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "no_shared_class");
    server.stop().await;
}
