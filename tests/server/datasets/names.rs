//! Names of datasets that come from file names: they are made free, and only a name that somebody chose can be taken.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::json;

use crate::support::{Api, Server, api::Answer, pictures};
use finetuned::files::digest;

async fn form(api: &Api, field: &str, file: &str, archive: &[u8]) -> Answer {
    let part = Part::bytes(archive.to_vec()).file_name(file.to_owned());
    let form = Form::new().part(field.to_owned(), part);
    api.send(api.request(Method::POST, "/v1/datasets").multipart(form))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn file_names_that_give_the_same_name_make_datasets_of_their_own() {
    let server = Server::start().await;
    let api = &server.api;
    let archives: Vec<Vec<u8>> = (2..8).map(|each| pictures::flat_archive(2, each)).collect();
    let mut made = Vec::new();
    for (file, archive, name) in [
        ("Мои фото.zip", &archives[0], "dataset"),
        ("Кошки.zip", &archives[1], "dataset-2"),
        ("画像.ZIP", &archives[2], "dataset-3"),
        ("cats & dogs.zip", &archives[0], "cats---dogs"),
        ("cats + dogs.zip", &archives[1], "cats---dogs-2"),
        ("imagenet.zip", &archives[2], "dataset-imagenet"),
    ] {
        let dataset = form(api, "archive", file, archive).await.expect(201).json();
        assert_eq!(dataset["name"], name, "{file}");
        made.push((file, archive, dataset["id"].clone()));
    }
    // The same again is the same dataset, whichever number it has.
    for (file, archive, id) in &made {
        let again = form(api, "file", file, archive).await.expect(200).json();
        assert_eq!(&again["id"], id, "{file}");
    }
    // A name that somebody chose is taken or not.
    for chosen in ["dataset", "dataset-2"] {
        let path = format!("/v1/datasets?name={chosen}");
        api.put(&path, archives[3].clone())
            .await
            .problem(409, "name-taken");
    }
    // A number that became free is used again; one that somebody chose is passed over.
    api.delete("/v1/datasets/dataset-2").await.expect(204);
    api.put("/v1/datasets?name=dataset-4", archives[3].clone())
        .await
        .expect(201);
    for (archive, name) in [(&archives[4], "dataset-2"), (&archives[5], "dataset-5")] {
        let dataset = form(api, "file", "Собаки.zip", archive).await.expect(201).json();
        assert_eq!(dataset["name"], name);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_name_may_come_in_the_query_the_address_and_the_metadata_of_an_upload() {
    let server = Server::start().await;
    let api = &server.api;
    let archives: Vec<Vec<u8>> = (2..8).map(|each| pictures::flat_archive(2, each)).collect();
    let put = async |path: &str, archive: &[u8]| api.put(path, archive.to_vec()).await;
    // As `curl -T flowers.zip …/v1/datasets/` sends it.
    let first = put("/v1/datasets/flowers.zip", &archives[0])
        .await
        .expect(201)
        .json();
    assert_eq!(first["name"], "flowers");
    let second = put("/v1/datasets/flowers.tar.gz", &archives[1])
        .await
        .expect(201)
        .json();
    assert_eq!(second["name"], "flowers-2");
    put("/v1/datasets/flowers.zip", &archives[0]).await.expect(200);
    put("/v1/datasets/flowers", &archives[0]).await.expect(200);
    put("/v1/datasets/flowers", &archives[2])
        .await
        .problem(409, "name-taken");
    put("/v1/datasets/ds_1", &archives[2])
        .await
        .problem(422, "invalid");
    put("/v1/datasets/x.zip?name=flowers", &archives[2])
        .await
        .problem(409, "name-taken");
    let third = put("/v1/datasets?filename=C%3A%5Cflowers.zip", &archives[2])
        .await
        .expect(201)
        .json();
    assert_eq!(third["name"], "flowers-3");
    // In several requests: the name is settled with the last byte.
    let upload = async |archive: &[u8]| {
        let metadata = format!("filename {}", STANDARD.encode("flowers.zip"));
        let begun = api
            .request(Method::POST, "/v1/uploads")
            .header("tus-resumable", "1.0.0")
            .header("upload-length", archive.len())
            .header("upload-metadata", metadata);
        let begun = api.send(begun).await.expect(201);
        begun.headers["location"].to_str().unwrap().to_owned()
    };
    let finish = async |path: &str, archive: &[u8]| {
        let patch = api
            .request(Method::PATCH, path)
            .header("tus-resumable", "1.0.0")
            .header("upload-offset", 0)
            .header("content-type", "application/offset+octet-stream");
        let done = api.send(patch.body(archive.to_vec())).await.expect(204);
        let id = done.headers["upload-dataset"].to_str().unwrap().to_owned();
        api.get(&format!("/v1/datasets/{id}")).await.expect(200).json()
    };
    let (one, other) = (upload(&archives[3]).await, upload(&archives[4]).await);
    let other_dataset = finish(&other, &archives[4]).await;
    assert_eq!(other_dataset["name"], "flowers-4");
    assert_eq!(finish(&one, &archives[3]).await["name"], "flowers-5");
    assert_eq!(api.get(&one).await.expect(200).json()["name"], "flowers-5");
    let same = upload(&archives[4]).await;
    assert_eq!(finish(&same, &archives[4]).await["id"], other_dataset["id"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_has_one_file_and_may_name_the_dataset_itself() {
    let server = Server::start().await;
    let api = &server.api;
    let archive = pictures::flat_archive(2, 3);
    let part = |file: &str| Part::bytes(archive.clone()).file_name(file.to_owned());
    let send = async |form: Form| {
        api.send(api.request(Method::POST, "/v1/datasets").multipart(form))
            .await
    };
    for field in ["file", "archive", "upload", "zip file", "Datei"] {
        let dataset = send(
            Form::new()
                .text("comment", "mine")
                .part(field, part("things.zip")),
        )
        .await;
        assert_eq!(dataset.json()["name"], "things", "{field}");
    }
    let named = Form::new()
        .part("upload", part("things.zip"))
        .text("name", "flowers");
    let named = send(named.text("sha256", digest::of_bytes(&archive)))
        .await
        .expect(201)
        .json();
    assert_eq!(named["name"], "flowers");
    let wrong = Form::new()
        .part("upload", part("other.zip"))
        .text("sha256", "0".repeat(64));
    send(wrong).await.problem(400, "digest-mismatch");
    let bad = Form::new().text("name", "a b").part("upload", part("other.zip"));
    send(bad).await.problem(422, "invalid");
    for (form, found) in [
        (
            Form::new().part("a", part("a.zip")).part("b", part("b.zip")),
            ["`a` (file `a.zip`)", "`b` (file `b.zip`)"],
        ),
        (
            Form::new().text("name", "x").text("archive", "y"),
            ["`name`, `archive`", "curl -F"],
        ),
    ] {
        let problem = send(form).await.problem(400, "form-invalid");
        let detail = problem["detail"].as_str().unwrap();
        assert!(found.iter().all(|words| detail.contains(words)), "{detail}");
    }
    let list = api.get("/v1/datasets").await.expect(200).json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2, "{list:#}");
    assert!(
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["name"] != json!("other"))
    );
    server.stop().await;
}
