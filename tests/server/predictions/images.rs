//! Predictions: every way to send an image, and what is not one.

use std::{fs, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use image::ImageFormat;
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::with_model;
use crate::support::{Server, pictures};

#[tokio::test(flavor = "multi_thread")]
async fn a_model_answers_images_in_every_form_with_the_same_answer() {
    let server = with_model().await;
    let api = &server.api;
    let path = "/v1/models/thing/predict";
    let picture = pictures::png(1, 500, 40);
    let raw = api
        .put(&format!("{path}?top_k=2"), picture.clone())
        .await
        .expect(200)
        .json();
    assert_eq!(raw["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(raw["predictions"][0]["label"], "class-1");
    let all = api.put(path, picture.clone()).await.expect(200).json();
    assert_eq!(
        all["predictions"].as_array().unwrap().len(),
        3,
        "no more classes than there are"
    );
    let form = Form::new().part("file", Part::bytes(picture.clone()).file_name("x.png"));
    let one = api
        .send(api.request(Method::POST, path).multipart(form))
        .await
        .expect(200)
        .json();
    assert_same(&all, &one);
    let in_json = json!({"images": [STANDARD.encode(&picture), STANDARD.encode(pictures::png(0, 501, 40))]});
    let several = api.post(path, in_json).await.expect(200).json();
    assert_same(&all, &several["data"][0]);
    assert_eq!(several["data"][1]["predictions"][0]["label"], "class-0");

    // Several files keep their order, and a bad one hurts no other.
    let files = [pictures::png(2, 502, 40), b"no image".to_vec(), picture.clone()];
    let form = files.into_iter().fold(Form::new(), |form, file| {
        form.part("file", Part::bytes(file).file_name("x"))
    });
    let list = api
        .send(api.request(Method::POST, path).multipart(form))
        .await
        .expect(200)
        .json();
    assert_eq!(list["data"][0]["predictions"][0]["label"], "class-2");
    assert_eq!(list["data"][1]["error"]["code"], "image-unsupported");
    assert_same(&all, &list["data"][2]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_is_refused_and_hurts_nobody() {
    let server = with_model().await;
    let api = &server.api;
    let path = "/v1/models/thing/predict";
    let picture = pictures::png(0, 7, 40);
    let before = api.put(path, picture.clone()).await.expect(200).json();
    api.put("/v1/models/nothing/predict", picture.clone())
        .await
        .problem(404, "not-found");
    for not_an_image in [
        b"hello".to_vec(),
        Vec::new(),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
    ] {
        api.put(path, not_an_image)
            .await
            .problem(415, "image-unsupported");
    }
    let mut cut = pictures::file(&pictures::picture(0, 1, 128), ImageFormat::Jpeg);
    cut.truncate(cut.len() / 2);
    api.put(path, cut).await.problem(422, "image-invalid");
    api.put(path, flood()).await.problem(422, "image-invalid");
    api.post(path, json!({"images": []}))
        .await
        .problem(422, "invalid");
    for wrong in [
        json!({"pictures": ["x"]}),
        json!({"images": null}),
        json!({"images": [null]}),
    ] {
        api.post(path, wrong).await.problem(422, "invalid");
    }
    api.put(&format!("{path}?top_k=0"), picture.clone())
        .await
        .problem(422, "invalid");
    let bad = api
        .post(path, json!({"images": ["%%%"]}))
        .await
        .expect(200)
        .json();
    assert_eq!(bad["data"][0]["error"]["code"], "base64-invalid");
    let after = api.put(path, picture).await.expect(200).json();
    assert_same(&before, &after);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_predict_child_costs_a_moment_and_no_wrong_answer() {
    let server = with_model().await;
    let api = &server.api;
    let path = "/v1/models/thing/predict";
    let picture = pictures::png(0, 7, 40);
    let before = api.put(path, picture.clone()).await.expect(200).json();
    for child in predict_children(&server) {
        let pid = rustix::process::Pid::from_raw(child).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    let again = async {
        loop {
            let answer = api.put(path, picture.clone()).await;
            match answer.status {
                200 => return answer.json(),
                503 => assert!(answer.headers.contains_key("retry-after")),
                other => panic!("{other}: {}", answer.text),
            }
        }
    };
    let after = tokio::time::timeout(Duration::from_secs(60), again)
        .await
        .expect("predictions do not come back");
    assert_same(&before, &after);
    server.stop().await;
}

/// Process ids of this server's predict children: those that run in its data directory. Other tests' servers have some too.
fn predict_children(server: &Server) -> Vec<i32> {
    let folder = server.data_dir();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let runs_in = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if runs_in.starts_with(&folder) && command.split('\0').any(|argument| argument == "predict") {
            found.push(pid);
        }
    }
    assert!(!found.is_empty(), "no predict child is running");
    found
}

/// A PNG whose header announces 60,000 by 60,000 pixels.
fn flood() -> Vec<u8> {
    let mut png = pictures::png(0, 0, 8);
    png[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    png
}

/// CRC-32 as PNG has it (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

fn assert_same(a: &Value, b: &Value) {
    let classes = |answer: &Value| {
        let predictions = answer["predictions"]
            .as_array()
            .unwrap_or_else(|| panic!("no prediction: {answer:#}"))
            .clone();
        predictions
            .into_iter()
            .map(|class| (class["label"].clone(), class["probability"].as_f64().unwrap()))
    };
    for ((label, probability), (other_label, other)) in classes(a).zip(classes(b)) {
        assert_eq!(label, other_label);
        assert!((probability - other).abs() <= 1e-5, "{probability} and {other}");
    }
}
