//! Previews of augmentation: a picture for who asks well, and what everybody else hears.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, patience::wait_until_no_work_is_left, pictures};

/// The sheet that a server draws.
async fn sheet(server: &Server, body: Value) -> image::RgbImage {
    let request = server.api.request(Method::POST, "/v1/datasets/things/preview");
    let answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let bytes = answer.bytes().await.unwrap();
    image::load_from_memory(&bytes).unwrap().to_rgb8()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_a_sheet_of_pictures_and_leaves_nothing_behind() {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(2, 6)).await;
    let wish = json!({"image": {"size": 32}, "images": 3, "views": 4, "augment": {"rotation_degrees": 45, "mixup": 0.4}});
    let one = sheet(&server, wish.clone()).await;
    assert_eq!(one.dimensions(), (5 * 36 - 4, 3 * 36 - 4));
    assert_eq!(
        sheet(&server, wish).await,
        one,
        "the same wish gives the same sheet"
    );
    let plain = sheet(
        &server,
        json!({"image": {"size": 32, "resize": "letterbox"}, "views": 1}),
    )
    .await;
    let column = |left: u32| image::imageops::crop_imm(&plain, left, 0, 32, plain.height()).to_image();
    assert_eq!(
        column(0),
        column(36),
        "without augmentation a view is the picture itself"
    );
    server
        .api
        .post("/v1/datasets/things/preview", json!({}))
        .await
        .expect(200);
    wait_until_no_work_is_left(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_drawn_is_said_in_words() {
    let server = Server::with(|config| config.limits.max_previews = 0).await;
    let api = &server.api;
    api.post("/v1/datasets/nothing/preview", json!({}))
        .await
        .problem(404, "not-found");
    api.upload("things", pictures::flat_archive(2, 6)).await;
    let body = json!({"images": 0, "augment": {"mixup": -1, "views": 2}, "image": {"resize": "stretch"}, "epochs": 3});
    let problem = api
        .post("/v1/datasets/things/preview", body)
        .await
        .problem(422, "invalid");
    let errors = problem["errors"].as_array().unwrap();
    let mut told: Vec<_> = errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "/augment/mixup",
            "/augment/views",
            "/epochs",
            "/image/resize",
            "/images"
        ]
    );
    let busy = api.post("/v1/datasets/things/preview", json!({})).await;
    busy.problem(429, "previews-busy");
    assert!(busy.headers.contains_key("retry-after"));
    let failed = api
        .upload("broken", pictures::zip([("a/x.png", b"no picture".to_vec())]))
        .await;
    assert_eq!(failed["status"], "failed");
    api.post("/v1/datasets/broken/preview", json!({}))
        .await
        .problem(409, "dataset-not-ready");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_that_takes_too_long_is_given_up() {
    let server = Server::with(|config| config.limits.preview_deadline_seconds = 0).await;
    server.api.upload("things", pictures::flat_archive(2, 6)).await;
    let answer = server.api.post("/v1/datasets/things/preview", json!({})).await;
    answer.problem(504, "preview-timeout");
    server.stop().await;
}
