//! Datasets: what uploading does, in every form, and what it refuses.

use std::io::Write;

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::json;

use crate::support::{Server, patience::wait_until, pictures, shared};
use finetuned::files::digest;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_with_the_same_bytes_is_the_same_dataset_and_with_others_a_conflict() {
    let server = Server::start().await;
    let archive = pictures::flat_archive(2, 3);
    let dataset = server.api.upload("things", archive.clone()).await;
    assert_eq!(dataset["sha256"], digest::of_bytes(&archive));
    assert_eq!(dataset["bytes"], archive.len());
    let again = server
        .api
        .put("/v1/datasets?name=things", archive)
        .await
        .expect(200)
        .json();
    assert_eq!(again["id"], dataset["id"]);
    let other = server
        .api
        .put("/v1/datasets?name=things", pictures::flat_archive(2, 4))
        .await;
    other.problem(409, "name-taken");
    let list = server.api.get("/v1/datasets").await.expect(200).json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        server.api.get("/v1/datasets/things").await.expect(200).json()["id"],
        dataset["id"]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_taken_too_and_its_file_name_names_the_dataset() {
    let server = Server::start().await;
    let file = Part::bytes(pictures::flat_archive(2, 3)).file_name("My pictures.zip");
    let form = Form::new().text("comment", "these are mine").part("file", file);
    let answer = server
        .api
        .send(server.api.request(Method::POST, "/v1/datasets").multipart(form))
        .await
        .expect(201);
    let dataset = answer.json();
    assert_eq!(dataset["name"], "My-pictures");
    assert_eq!(
        answer.headers["location"],
        format!("/v1/datasets/{}", dataset["id"].as_str().unwrap())
    );
    let without = Form::new().text("comment", "no file");
    server
        .api
        .send(
            server
                .api
                .request(Method::POST, "/v1/datasets")
                .multipart(without),
        )
        .await
        .problem(400, "form-invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tar_and_gzipped_tar_are_told_by_content() {
    let server = Server::start().await;
    let mut tar = tar::Builder::new(Vec::new());
    for class in 0..2 {
        for index in 0..3 {
            let bytes = pictures::png(class, index, 40);
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(
                &mut header,
                format!("all/of/it/class{class}/{index}.png"),
                &bytes[..],
            )
            .unwrap();
        }
    }
    let tar = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    for (name, archive) in [("tar", tar), ("tar-gz", gzip.finish().unwrap())] {
        let dataset = server.api.upload(name, archive).await;
        assert_eq!(
            (&dataset["status"], &dataset["images"]),
            (&json!("ready"), &json!(6)),
            "{dataset:#}"
        );
        assert_eq!(dataset["layout"], "wrapped");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_image_is_skipped_counted_and_named() {
    let server = Server::start().await;
    let mut broken = pictures::file(&pictures::picture(0, 9, 64), image::ImageFormat::Jpeg);
    broken.truncate(broken.len() / 3);
    let good: Vec<(String, Vec<u8>)> = (0..4)
        .map(|i| (format!("train/a/{i}.png"), pictures::png(0, i, 40)))
        .collect();
    let mut files: Vec<(&str, Vec<u8>)> = good
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    files.push(("train/b/1.png", pictures::png(1, 1, 40)));
    files.push(("val/a/v.png", pictures::png(0, 50, 40)));
    files.push(("val/b/v.png", pictures::png(1, 51, 40)));
    files.push(("train/b/broken.jpg", broken));
    files.push(("train/b/notes.jpg", b"not a picture at all".to_vec()));
    files.push(("__MACOSX/train/b/._1.png", b"\0\x05\x16\x07".to_vec()));
    let dataset = server.api.upload("holes", pictures::zip(files)).await;
    assert_eq!(dataset["status"], "ready", "{dataset:#}");
    assert_eq!(dataset["splits"], json!({"train": 5, "val": 2, "test": 0}));
    assert_eq!(dataset["layout"], "splits");
    assert_eq!(
        (&dataset["report"]["used"], &dataset["report"]["ignored"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(dataset["report"]["skipped"], 2);
    let skipped = server
        .api
        .get("/v1/datasets/holes/report?outcome=skipped")
        .await
        .expect(200)
        .json();
    let paths: Vec<_> = skipped["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["train/b/broken.jpg", "train/b/notes.jpg"]);
    assert!(
        skipped["data"][0]["codes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|code| code == "truncated"),
        "{skipped:#}"
    );
    let page = server
        .api
        .get("/v1/datasets/holes/report?limit=3&after=2")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (page["data"].as_array().unwrap().len(), &page["has_more"]),
        (3, &json!(true))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_is_refused_at_once_and_leaves_nothing() {
    let server = Server::with(|config| config.limits.max_archive_bytes = 100_000).await;
    let api = &server.api;
    api.put("/v1/datasets?name=text", b"just a text".to_vec())
        .await
        .problem(415, "archive-unsupported");
    api.put("/v1/datasets?name=long-text", vec![b'x'; 5000])
        .await
        .problem(415, "archive-unsupported");
    api.put("/v1/datasets?name=empty", Vec::new())
        .await
        .problem(415, "archive-unsupported");
    let archive = pictures::flat_archive(2, 2);
    api.put("/v1/datasets", archive.clone())
        .await
        .problem(422, "invalid");
    api.put("/v1/datasets?name=..%2Fup", archive.clone())
        .await
        .problem(422, "invalid");
    api.put("/v1/datasets?nane=typo", archive.clone())
        .await
        .problem(400, "query-invalid");
    let wrong = format!(
        "/v1/datasets?name=wrong&sha256={}",
        digest::of_bytes(b"something else")
    );
    api.put(&wrong, archive.clone())
        .await
        .problem(400, "digest-mismatch");
    let digest_of_abc = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    let field = api
        .request(Method::PUT, "/v1/datasets?name=wrong")
        .header("repr-digest", digest_of_abc)
        .body(archive.clone());
    let refused = api.send(field).await.problem(400, "digest-mismatch");
    let detail = refused["detail"].as_str().unwrap();
    for digest in [digest::of_bytes(b"abc"), digest::of_bytes(&archive)] {
        assert!(detail.contains(&digest), "{detail}");
    }
    api.put("/v1/datasets?name=wrong&sha256=abc", archive.clone())
        .await
        .problem(400, "digest-invalid");
    api.put("/v1/datasets?name=big", pictures::flat_archive(2, 60))
        .await
        .problem(413, "too-large");
    // Without an announced length the bytes themselves are counted.
    let chunks = futures_util::stream::iter(
        pictures::flat_archive(2, 60)
            .chunks(8192)
            .map(|c| Ok::<_, std::io::Error>(c.to_vec()))
            .collect::<Vec<_>>(),
    );
    let streamed = api
        .request(Method::PUT, "/v1/datasets?name=big")
        .body(reqwest::Body::wrap_stream(chunks));
    api.send(streamed).await.problem(413, "too-large");
    let list = api.get("/v1/datasets").await.expect(200).json();
    assert_eq!(list["data"], json!([]));
    assert_eq!(
        std::fs::read_dir(server.data_dir().join("spool"))
            .unwrap()
            .count(),
        0
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_cannot_be_a_dataset_fails_with_a_reason_and_frees_its_name() {
    let server = Server::start().await;
    let api = &server.api;
    let without_images = pictures::zip([("readme.txt", b"nothing to see".to_vec())]);
    let failed = api.upload("later", without_images).await;
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("no_images")),
        "{failed:#}"
    );
    let escaping = pictures::zip([
        ("../../evil.png", pictures::png(0, 0, 40)),
        ("a/x.png", pictures::png(0, 1, 40)),
    ]);
    let failed = api.upload("escaping", escaping).await;
    assert_eq!(failed["error"]["code"], "path_escape", "{failed:#}");
    let mut cut = pictures::flat_archive(2, 3);
    cut.truncate(cut.len() / 2);
    let failed = api.upload("cut", cut).await;
    assert_eq!(failed["status"], "failed", "{failed:#}");
    let refused = api
        .post("/v1/jobs", json!({"dataset": "cut"}))
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/dataset");
    // The name is free for the right archive.
    let ready = api.upload("later", pictures::flat_archive(2, 3)).await;
    assert_eq!(ready["status"], "ready");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_cannot_train_is_refused_when_a_job_asks_for_it() {
    let server = Server::start().await;
    let api = &server.api;
    let one = api.upload("one-class", pictures::flat_archive(1, 4)).await;
    assert_eq!(one["status"], "ready", "{one:#}");
    let refused = api
        .post("/v1/jobs", json!({"dataset": "one-class"}))
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["code"], "one_class", "{refused:#}");
    let flat: Vec<(String, Vec<u8>)> = (0..3)
        .map(|i| (format!("{i}.png"), pictures::png(i, i, 40)))
        .collect();
    let unlabelled = api
        .upload(
            "unlabelled",
            pictures::zip(flat.iter().map(|(n, b)| (n.as_str(), b.clone()))),
        )
        .await;
    assert_eq!(unlabelled["layout"], "unlabelled", "{unlabelled:#}");
    let refused = api
        .post("/v1/jobs", json!({"dataset": "unlabelled"}))
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["code"], "unlabelled", "{refused:#}");
    for (name, paths, code) in [
        (
            "no-training",
            ["val/a/1.png", "val/b/2.png", "test/a/3.png"],
            "empty_split",
        ),
        (
            "one-taught",
            ["train/a/1.png", "val/a/2.png", "val/b/3.png"],
            "one_class",
        ),
    ] {
        let files = paths
            .iter()
            .zip(1..)
            .map(|(path, number)| (*path, pictures::png(number, number, 40)));
        let dataset = api.upload(name, pictures::zip(files)).await;
        assert_eq!(dataset["status"], "ready", "{dataset:#}");
        let refused = api
            .post("/v1/jobs", json!({"dataset": name}))
            .await
            .problem(422, "invalid");
        assert_eq!(refused["errors"][0]["code"], code, "{refused:#}");
        assert!(
            refused["errors"][0]["message"]
                .as_str()
                .unwrap()
                .contains("training split"),
            "{refused:#}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_labels_makes_a_dataset_and_the_layout_is_told() {
    let server = Server::start().await;
    let mut files: Vec<(String, Vec<u8>)> = (0..6)
        .map(|i| (format!("photos/{i}.png"), pictures::png(i % 2, i, 40)))
        .collect();
    let lines: Vec<_> = (0..7)
        .map(|i| format!("photos/{i}.png,{}\n", ["cat", "dog"][i % 2]))
        .collect();
    files.push((
        "labels.csv".to_owned(),
        format!("file,label\n{}", lines.concat()).into_bytes(),
    ));
    let archive = pictures::zip(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    let dataset = server.api.upload("by-table", archive).await;
    assert_eq!(dataset["layout"], "manifest", "{dataset:#}");
    assert_eq!(dataset["report"]["structure"]["manifests"], json!(["labels.csv"]));
    assert_eq!(
        dataset["classes"][1],
        json!({"name": "dog", "index": 1, "images": 3, "splits": {"train": 3, "val": 0, "test": 0}})
    );
    let warnings = dataset["report"]["warnings"].as_array().unwrap();
    let missing = warnings
        .iter()
        .find(|warning| warning["code"] == "missing_file")
        .unwrap();
    assert_eq!(missing["examples"], json!(["photos/6.png"]));
    let spec = json!({"dataset": "by-table", "split": {"group_by": {"parts": 2}}});
    let checked = server
        .api
        .post("/v1/jobs?dry_run=true", spec)
        .await
        .expect(200)
        .json();
    assert_eq!(
        checked["split"]["group_by"],
        json!({"separator": "_", "parts": 2}),
        "{checked:#}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_is_kept_while_a_job_needs_it_and_its_files_go_with_it() {
    let server = Server::start().await;
    let api = &server.api;
    let dataset = api.upload("needed", pictures::flat_archive(2, 4)).await;
    // A device that is not there keeps the job in the queue.
    let job = api
        .submit(json!({"dataset": "needed", "device": "cuda:9", "backbone": {"weights": "none"}}))
        .await;
    api.delete("/v1/datasets/needed")
        .await
        .problem(409, "dataset-in-use");
    api.post(
        &format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap()),
        json!({}),
    )
    .await
    .expect(200);
    api.delete("/v1/datasets/needed").await.expect(204);
    api.get("/v1/datasets/needed").await.problem(404, "not-found");
    let list = api
        .get(&format!("/v1/jobs?dataset={}", dataset["id"].as_str().unwrap()))
        .await
        .expect(200)
        .json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    // The start sweeps; so after a restart nothing of the dataset is left.
    let server = Server::on(server.stop().await, |_| {}).await;
    let blob = server.data_dir().join("blobs");
    let left = || -> usize {
        let folders = std::fs::read_dir(&blob).unwrap();
        folders
            .map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count())
            .sum()
    };
    wait_until("blobs of a deleted dataset go", async || left() == 0).await;
    server.stop().await;
}

/// The counts that the real sets are known to have.
#[tokio::test(flavor = "multi_thread")]
async fn real_archives_are_understood() {
    let known = [
        (
            "data/trashnet6-small.zip",
            "flat",
            6,
            600,
            json!({"train": 600, "val": 0, "test": 0}),
        ),
        (
            "data/cifar10-small.tar.gz",
            "splits",
            10,
            1500,
            json!({"train": 1000, "val": 0, "test": 500}),
        ),
        (
            "data/da-mnist-mnistm/source-mnist.zip",
            "splits",
            10,
            4000,
            json!({"train": 3000, "val": 0, "test": 1000}),
        ),
    ];
    let server = Server::start().await;
    for (index, (file, layout, classes, images, splits)) in known.into_iter().enumerate() {
        // Where it is missing, the drawn archives of the other tests stand for it.
        let Some(path) = shared::file(file) else { continue };
        let dataset = server
            .api
            .upload(&format!("real-{index}"), std::fs::read(path).unwrap())
            .await;
        let understood = dataset["layout"].as_str().unwrap_or_default();
        assert!([layout, "wrapped"].contains(&understood), "{file}: {dataset:#}");
        assert_eq!(dataset["classes"].as_array().unwrap().len(), classes, "{file}");
        assert_eq!(
            (&dataset["images"], &dataset["splits"]),
            (&json!(images), &splits),
            "{file}"
        );
        assert_eq!(dataset["report"]["skipped"], 0, "{file}");
    }
    server.stop().await;
}
