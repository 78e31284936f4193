//! Images are added: what is new is stored, once, and the rest is named.

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{add, change, edit, images, names, with_things};
use crate::support::{
    Api, Server,
    patience::{wait_until, wait_until_no_work_is_left},
    pictures,
};

/// Two that are new, one that is there already, one twice, and two that are no pictures.
fn six_files() -> Vec<(&'static str, Vec<u8>)> {
    let mut broken = pictures::file(&pictures::picture(0, 9, 64), image::ImageFormat::Jpeg);
    broken.truncate(broken.len() / 3);
    vec![
        ("new one.png", pictures::png(1, 50, 64)),
        (
            "../../wide.jpg",
            pictures::file(&pictures::picture(1, 51, 30), image::ImageFormat::Jpeg),
        ),
        ("known.png", pictures::png(0, 1, 40)),
        ("broken.jpg", broken),
        ("notes.txt", b"no picture at all".to_vec()),
        ("again.png", pictures::png(1, 50, 64)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_added_and_stored_once() {
    let (server, first) = with_things(3).await;
    let api = &server.api;
    add_what_is_new_and_name_the_rest(api, &first).await;

    // The same once more, as after a broken connection: nothing is new.
    let blobs = blobs_of(&server);
    let again = add(api, "?class=class-2&split=val", six_files())
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&again["dataset"]["version"], &again["images"]),
        (&json!(2), &json!([]))
    );
    swept(&server, &blobs).await;

    a_single_image_may_be_the_body(api).await;
    // A changed label stores a manifest and nothing else.
    let before = blobs_of(&server).len();
    change(
        api,
        Method::PATCH,
        "/v1/datasets/things/images/8",
        json!({"class": "class-1"}),
        None,
    )
    .await
    .expect(200);
    assert_eq!(blobs_of(&server).len(), before + 1);
    wait_until_no_work_is_left(&server).await;
    server.stop().await;
}

async fn add_what_is_new_and_name_the_rest(api: &Api, first: &Value) {
    let answer = add(api, "?class=class-2&split=val", six_files())
        .await
        .expect(201);
    let id = first["id"].as_str().unwrap();
    assert_eq!(
        answer.headers["location"],
        format!("/v1/datasets/{id}/versions/2")
    );
    assert!(answer.headers["etag"].to_str().unwrap().starts_with("\"v2."));
    let added = answer.json();
    assert_eq!(
        (&added["dataset"]["images"], &added["dataset"]["splits"]["val"]),
        (&json!(8), &json!(2))
    );
    let paths: Vec<_> = added["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| (&image["id"], &image["path"]))
        .collect();
    assert_eq!(
        paths,
        [
            (&json!(6), &json!("class-2/new one.png")),
            (&json!(7), &json!("class-2/wide.jpg"))
        ]
    );
    assert_eq!(added["images"][0]["class"], "class-2");
    assert_eq!(names(&added["dataset"]), ["class-0", "class-1", "class-2"]);
    assert_eq!(
        images(api, "&class=class-2&split=val").await,
        *added["images"].as_array().unwrap()
    );
    assert_eq!(images(api, "&version=1").await.len(), 6);
    assert_skipped_are_named(&added);
}

fn assert_skipped_are_named(added: &Value) {
    let mut skipped: Vec<_> = added["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["path"].as_str().unwrap(),
                entry["codes"][0].as_str().unwrap(),
            )
        })
        .collect();
    skipped.sort_unstable();
    let paths: Vec<_> = skipped.iter().map(|(path, _)| *path).collect();
    assert_eq!(
        paths,
        [
            "broken.jpg",
            "class-2/again.png",
            "class-2/known.png",
            "notes.txt"
        ]
    );
    assert_eq!((skipped[1].1, skipped[2].1), ("duplicate", "duplicate"));
}

/// As `curl --data-binary @rose.png` sends it.
async fn a_single_image_may_be_the_body(api: &Api) {
    let single = pictures::png(0, 60, 40);
    let request = api
        .request(
            Method::POST,
            "/v1/datasets/things/images?class=class-0&name=single.png",
        )
        .body(single);
    let third = api.send(request).await.expect(201).json();
    assert_eq!(
        (&third["dataset"]["version"], &third["images"][0]["id"]),
        (&json!(3), &json!(8))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_added_is_refused_and_makes_no_version() {
    let (server, _) = with_things(3).await;
    let api = &server.api;
    let known = pictures::png(0, 1, 40);
    // From here on the first version is an old one.
    edit(api, json!({"class": "class-1"}), None).await.expect(200);
    let refused = add(api, "?class=class-0", vec![("notes.txt", b"no picture".to_vec())])
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/files/0");
    assert!(
        refused["errors"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("notes.txt: "),
        "{refused:#}"
    );
    let refused = add(api, "", vec![("a.png", known.clone())])
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/class");
    add(api, "?class=a%2Fb", vec![("a.png", known.clone())])
        .await
        .problem(422, "invalid");
    add(api, "?class=a", Vec::new())
        .await
        .problem(400, "form-invalid");
    let stale = Form::new().part("file", Part::bytes(pictures::png(0, 61, 40)).file_name("a.png"));
    let request = api
        .request(Method::POST, "/v1/datasets/things/images?class=a")
        .header("if-match", "\"v1\"");
    api.send(request.multipart(stale))
        .await
        .problem(412, "version-changed");
    assert_eq!(
        api.get("/v1/datasets/things").await.expect(200).json()["version"],
        2
    );
    wait_until_no_work_is_left(&server).await;
    server.stop().await;
}

fn blobs_of(server: &Server) -> Vec<String> {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(server.data_dir().join("blobs")).unwrap() {
        for blob in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            names.push(blob.unwrap().file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}

/// Waits until the blobs are these.
async fn swept(server: &Server, blobs: &[String]) {
    wait_until("blobs that no version names go", async || {
        blobs_of(server) == blobs
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlabelled_dataset_takes_images_without_class_and_no_labels() {
    let server = Server::start().await;
    let api = &server.api;
    let files: Vec<(String, Vec<u8>)> = (0..3)
        .map(|index| (format!("{index}.png"), pictures::png(0, index, 40)))
        .collect();
    let archive = pictures::zip(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    api.upload("things", archive).await;
    let added = add(api, "", vec![("a.png", pictures::png(1, 9, 40))])
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&added["dataset"]["images"], &added["images"][0]["class"]),
        (&json!(4), &Value::Null)
    );
    let refused = add(api, "?class=x", vec![("b.png", pictures::png(1, 8, 40))])
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["code"], "unlabelled");
    let refused = change(
        api,
        Method::PATCH,
        "/v1/datasets/things/images/0",
        json!({"class": "x"}),
        None,
    )
    .await
    .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["code"], "unlabelled");
    change(
        api,
        Method::DELETE,
        "/v1/datasets/things/images/3",
        Value::Null,
        None,
    )
    .await
    .expect(204);
    server.stop().await;
}
