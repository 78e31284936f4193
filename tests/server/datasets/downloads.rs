//! What a dataset gives back: thumbnails of its images, and itself as a folder of images.

use std::{
    collections::BTreeSet,
    io::{Cursor, Read},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Server, patience::wait_until, pictures};

struct Picture {
    status: u16,
    headers: reqwest::header::HeaderMap,
    bytes: Vec<u8>,
}

async fn fetch(api: &Api, path: &str, known: Option<&str>) -> Picture {
    let mut request = api.request(Method::GET, path);
    if let Some(tag) = known {
        request = request.header("if-none-match", tag);
    }
    let answer = request.send().await.unwrap();
    Picture {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        bytes: answer.bytes().await.unwrap().to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thumbnail_is_drawn_anew_and_kept() {
    let server = Server::start().await;
    let api = &server.api;
    let wide = image::imageops::resize(
        &pictures::picture(0, 1, 64),
        300,
        100,
        image::imageops::FilterType::Triangle,
    );
    let original = pictures::file(&wide, image::ImageFormat::Png);
    let files = [
        ("a/wide.png", original.clone()),
        ("a/small.png", pictures::png(0, 2, 24)),
        ("b/b.png", pictures::png(1, 3, 40)),
    ];
    let dataset = api.upload("things", pictures::zip(files)).await;
    assert_eq!(dataset["status"], "ready", "{dataset:#}");

    // `a/small.png`, `a/wide.png`, `b/b.png` are 0, 1, 2.
    let thumbnail = fetch(api, "/v1/datasets/things/images/1?size=90", None).await;
    assert_eq!(thumbnail.status, 200);
    assert_eq!(thumbnail.headers["content-type"], "image/jpeg");
    assert_eq!(thumbnail.headers["x-content-type-options"], "nosniff");
    assert!(
        thumbnail.headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
    let drawn = image::load_from_memory_with_format(&thumbnail.bytes, image::ImageFormat::Jpeg).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (90, 30));
    let tag = thumbnail.headers["etag"].to_str().unwrap();
    assert!(tag.starts_with('"'), "a strong one: {tag}");

    let small = fetch(api, "/v1/datasets/things/images/0", None).await;
    let drawn = image::load_from_memory(&small.bytes).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (24, 24), "it is not made larger");
    assert_ne!(small.headers["etag"], thumbnail.headers["etag"]);

    let known = fetch(api, "/v1/datasets/things/images/1?size=90", Some(tag)).await;
    assert_eq!((known.status, known.bytes.len()), (304, 0));
    assert_eq!(known.headers["etag"], tag);
    let other_size = fetch(api, "/v1/datasets/things/images/1?size=91", Some(tag)).await;
    assert_eq!(other_size.status, 200);

    // Kept: the same answer without the worker's help, and after a restart.
    let server = Server::on(server.stop().await, |config| {
        config.worker = Some("/bin/false".into())
    })
    .await;
    let api = &server.api;
    let again = fetch(api, "/v1/datasets/things/images/1?size=90", None).await;
    assert_eq!((again.status, &again.bytes), (200, &thumbnail.bytes));
    let neighbour = fetch(api, "/v1/datasets/things/images/2?size=90", None).await;
    assert_eq!(neighbour.status, 200, "its neighbours were drawn with it");

    api.get("/v1/datasets/things/images/3")
        .await
        .problem(404, "not-found");
    api.get("/v1/datasets/things/images/..%2F1")
        .await
        .problem(404, "not-found");
    for size in ["0", "15", "257", "4294967295"] {
        api.get(&format!("/v1/datasets/things/images/1?size={size}"))
            .await
            .problem(422, "invalid");
    }
    api.get("/v1/datasets/things/images/1?size=x")
        .await
        .problem(400, "query-invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_of_all_versions_are_there_and_go_with_their_dataset() {
    let server = Server::start().await;
    let api = &server.api;
    let dataset = api.upload("things", pictures::flat_archive(2, 3)).await;
    let request = api
        .request(Method::POST, "/v1/datasets/things/images?class=class-0")
        .body(pictures::png(2, 30, 50));
    api.send(request).await.expect(201);
    api.delete("/v1/datasets/things/images/0").await.expect(204);
    let thumbnail = async |path: &str| fetch(api, &format!("/v1/datasets/things/images/{path}"), None).await;
    assert_eq!(thumbnail("0").await.status, 404);
    assert_eq!(thumbnail("0?version=1").await.status, 200);
    let added = thumbnail("6").await;
    let drawn = image::load_from_memory(&added.bytes).unwrap();
    assert_eq!((added.status, drawn.width()), (200, 50));
    // Asked for at once, as a page of a dashboard does.
    let paths: Vec<String> = (1..6)
        .map(|id| format!("/v1/datasets/things/images/{id}?size=32"))
        .collect();
    let at_once = futures_util::future::join_all(paths.iter().map(|path| fetch(api, path, None))).await;
    assert!(at_once.iter().all(|picture| picture.status == 200));

    let folder = server
        .data_dir()
        .join("thumbnails")
        .join(dataset["id"].as_str().unwrap());
    assert!(folder.is_dir());
    api.delete("/v1/datasets/things").await.expect(204);
    wait_until("thumbnails of a deleted dataset go", async || !folder.exists()).await;
    server.stop().await;
}

async fn archive(api: &Api, path: &str) -> Vec<u8> {
    let answer = fetch(api, path, None).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.bytes));
    assert_eq!(answer.headers["content-type"], "application/zip");
    assert_eq!(answer.headers["content-length"], answer.bytes.len().to_string());
    answer.bytes
}

fn entries(archive: &[u8]) -> Vec<String> {
    let archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut names: Vec<String> = archive
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    names.sort();
    names
}

/// Class, part and content of every image.
async fn content(api: &Api, dataset: &str) -> BTreeSet<String> {
    let page = api
        .get(&format!("/v1/datasets/{dataset}/images?limit=100"))
        .await
        .expect(200)
        .json();
    assert_eq!(page["has_more"], false);
    let images = page["data"].as_array().unwrap();
    images
        .iter()
        .map(|image: &Value| format!("{} {} {}", image["class"], image["split"], image["sha256"]))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_comes_back_as_a_folder_of_images() {
    let server = Server::start().await;
    let api = &server.api;
    let classes = ["Ünïcode", "two words", "yes", "<script>", "-1"];
    let files: Vec<(String, Vec<u8>)> = classes
        .iter()
        .enumerate()
        .flat_map(|(class, name)| {
            (0..3).map(move |index| (format!("top/{name}/{index}.PNG"), pictures::png(class, index, 40)))
        })
        .collect();
    let zip = pictures::zip(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    let first = api.upload("things", zip).await;
    assert_eq!(first["status"], "ready", "{first:#}");

    let flat = archive(api, "/v1/datasets/things/archive").await;
    assert_eq!(entries(&flat)[0], "-1/0.PNG");
    let mut found = Vec::new();
    let mut read = zip::ZipArchive::new(Cursor::new(&flat)).unwrap();
    read.by_name("two words/2.PNG")
        .unwrap()
        .read_to_end(&mut found)
        .unwrap();
    assert_eq!(found, pictures::png(1, 2, 40), "the file that was uploaded");

    // Back in, it is what it was, although the archive is another one.
    let again = api.upload("again", flat).await;
    assert_eq!(again["content_sha256"], first["content_sha256"], "{again:#}");
    assert_eq!(again["classes"], first["classes"]);

    // With an image from elsewhere, under a name that is taken, and divided.
    let request = api
        .request(Method::POST, "/v1/datasets/things/images?class=yes&name=0.png")
        .body(pictures::png(2, 40, 40));
    api.send(request).await.expect(201);
    api.send(
        api.request(Method::POST, "/v1/datasets/things/split")
            .json(&json!({"val": 0.4})),
    )
    .await
    .expect(201);
    let divided = archive(api, "/v1/datasets/things/archive").await;
    let names = entries(&divided);
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("train/") || name.starts_with("val/")),
        "{names:?}"
    );
    let lower: BTreeSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(
        (names.len(), lower.len()),
        (16, 16),
        "no name is used twice, in whatever case"
    );
    let copy = api.upload("copy", divided.clone()).await;
    let third = api.get("/v1/datasets/things").await.expect(200).json();
    assert_eq!(
        (&copy["content_sha256"], &copy["splits"]),
        (&third["content_sha256"], &third["splits"])
    );
    assert_eq!(content(api, "copy").await, content(api, "things").await);
    assert_eq!(
        archive(api, "/v1/datasets/things/archive?version=3").await,
        divided,
        "to the last byte"
    );
    assert_eq!(
        entries(&archive(api, "/v1/datasets/things@1/archive").await).len(),
        15
    );

    let answer = fetch(api, "/v1/datasets/things/archive", None).await;
    assert_eq!(
        answer.headers["content-disposition"],
        "attachment; filename=\"things-v3.zip\""
    );
    let tag = answer.headers["etag"].to_str().unwrap();
    let known = fetch(api, "/v1/datasets/things/archive", Some(tag)).await;
    assert_eq!((known.status, known.bytes.len()), (304, 0));
    api.get("/v1/datasets/things/archive?version=9")
        .await
        .problem(404, "not-found");
    let head = api
        .request(Method::HEAD, "/v1/datasets/things/archive")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &answer.headers["content-length"])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_are_bounded_and_a_dataset_that_is_not_ready_has_none() {
    let server = Server::with(|config| config.limits.max_downloads = 0).await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 2)).await;
    let busy = api.get("/v1/datasets/things/archive").await;
    busy.problem(429, "downloads-busy");
    assert!(busy.headers.contains_key("retry-after"));
    api.upload("failed", pictures::zip([("readme.txt", b"nothing".to_vec())]))
        .await;
    for path in ["archive", "images", "images/0"] {
        api.get(&format!("/v1/datasets/failed/{path}"))
            .await
            .problem(409, "dataset-not-ready");
    }
    let failed = api
        .request(Method::POST, "/v1/datasets/failed/split")
        .json(&json!({}));
    api.send(failed).await.problem(409, "dataset-not-ready");
    let failed = api
        .request(Method::POST, "/v1/datasets/failed/images?class=a")
        .body(pictures::png(0, 0, 40));
    api.send(failed).await.problem(409, "dataset-not-ready");
    server.stop().await;
}
