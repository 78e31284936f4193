//! Predictions for clients of other servers (the Open Inference Protocol, TorchServe), feature vectors, explanations.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{with_model, with_model_of};
use crate::support::{Api, Server, pictures};

/// Probabilities in the order of the classes, as our own API has them.
async fn probabilities(server: &Server, picture: &[u8]) -> Vec<f64> {
    let answer = server.api.put("/v1/models/thing/predict", picture.to_vec()).await;
    let mut classes = answer.expect(200).json()["predictions"]
        .as_array()
        .unwrap()
        .clone();
    classes.sort_by_key(|class| class["index"].as_u64());
    let probability = |class: &Value| class["probability"].as_f64().unwrap();
    classes.iter().map(probability).collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-5, "{found} and {expected}");
    }
}

fn numbers(values: &Value) -> Vec<f64> {
    let values = values.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_the_open_inference_protocol_are_served() {
    let server = with_model().await;
    let api = &server.api;
    assert_server_and_model_are_described(api).await;
    let files = [pictures::png(1, 500, 40), pictures::png(2, 501, 40)];
    let expected = [
        probabilities(&server, &files[0]).await,
        probabilities(&server, &files[1]).await,
    ];
    assert_base64_is_answered_in_json(api, &files, &expected).await;
    assert_binary_is_answered_in_binary(api, &files, &expected).await;
    assert_pixels_of_the_caller_are_taken(api).await;
    assert_what_is_wrong_is_refused_in_its_words(api).await;
    server.stop().await;
}

async fn assert_server_and_model_are_described(api: &Api) {
    assert_eq!(api.get("/v2").await.expect(200).json()["name"], "finetuned");
    assert_eq!(api.get("/v2/health/live").await.expect(200).json()["live"], true);
    assert_eq!(
        api.get("/v2/health/ready").await.expect(200).json()["ready"],
        true
    );
    let ready = api.get("/v2/models/thing/versions/1/ready").await.expect(200);
    assert_eq!(ready.json(), json!({"name": "thing", "ready": true}));
    let described = api.get("/v2/models/thing").await.expect(200).json();
    assert_eq!(described["versions"], json!(["1"]));
    assert_eq!(described["inputs"][1]["shape"], json!([-1, 3, 32, 32]));
    assert_eq!(described["outputs"][0]["shape"], json!([-1, 3]));
}

async fn assert_base64_is_answered_in_json(api: &Api, files: &[Vec<u8>], expected: &[Vec<f64>]) {
    let data: Vec<String> = files.iter().map(|file| STANDARD.encode(file)).collect();
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [2], "data": data});
    let answer = api
        .post("/v2/models/thing/infer", json!({"id": "a", "inputs": [input]}))
        .await
        .expect(200);
    assert!(answer.headers.contains_key("server-timing"));
    let answer = answer.json();
    assert_eq!(
        (&answer["id"], &answer["model_version"]),
        (&json!("a"), &json!("1"))
    );
    assert_eq!(answer["outputs"][0]["shape"], json!([2, 3]));
    assert_close(&numbers(&answer["outputs"][0]["data"]), &expected.concat());
    assert_eq!(answer["outputs"][1]["data"], json!(["class-1", "class-2"]));
}

/// Everything binary, as Triton's client sends it.
async fn assert_binary_is_answered_in_binary(api: &Api, files: &[Vec<u8>], expected: &[Vec<f64>]) {
    let strings: Vec<u8> = files
        .iter()
        .flat_map(|file| [&(file.len() as u32).to_le_bytes(), file.as_slice()].concat())
        .collect();
    let head = json!({
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": strings.len()}}],
        "outputs": [
            {"name": "probabilities", "parameters": {"binary_data": true}},
            {"name": "embedding", "parameters": {"binary_data": true}},
            {"name": "probabilities", "parameters": {"classification": 2}},
        ],
    })
    .to_string();
    let answer = api
        .request(Method::POST, "/v2/models/thing/versions/1/infer")
        .header("inference-header-content-length", head.len())
        .body([head.as_bytes(), &strings].concat())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let length = &answer.headers()["inference-header-content-length"];
    let length: usize = length.to_str().unwrap().parse().unwrap();
    let body = answer.bytes().await.unwrap();
    let head: Value = serde_json::from_slice(&body[..length]).unwrap();
    let words = body[length..].chunks_exact(4);
    let floats: Vec<f64> = words
        .map(|word| f64::from(f32::from_le_bytes(word.try_into().unwrap())))
        .collect();
    assert_close(&floats[..6], &expected.concat());
    assert_eq!(head["outputs"][1]["shape"], json!([2, 512]));
    assert_eq!(floats.len(), 6 + 2 * 512);
    let texts = head["outputs"][2]["data"].as_array().unwrap();
    assert_eq!(texts.len(), 4);
    assert!(texts[0].as_str().unwrap().ends_with(":1:class-1"), "{texts:?}");
}

/// What the network sees, preprocessed by the caller: a picture of 32 pixels is neither scaled nor cut by more than its margin.
async fn assert_pixels_of_the_caller_are_taken(api: &Api) {
    let zeros =
        json!({"name": "input", "datatype": "FP32", "shape": [1, 3, 32, 32], "data": vec![0.0; 3 * 32 * 32]});
    let answer = api
        .post("/v2/models/thing/infer", json!({"inputs": [zeros]}))
        .await;
    let sum: f64 = numbers(&answer.expect(200).json()["outputs"][0]["data"])
        .iter()
        .sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

async fn assert_what_is_wrong_is_refused_in_its_words(api: &Api) {
    for (input, status, slug) in [
        (
            json!({"name": "image", "datatype": "BYTES", "shape": [1], "data": [STANDARD.encode("no image")]}),
            415,
            "image-unsupported",
        ),
        (
            json!({"name": "input", "datatype": "FP32", "shape": [1, 3, 8, 8], "data": vec![0.0; 192]}),
            400,
            "inference-request-invalid",
        ),
        (
            json!({"name": "picture", "datatype": "BYTES", "shape": [1], "data": ["AA=="]}),
            400,
            "inference-request-invalid",
        ),
    ] {
        let problem = api
            .post("/v2/models/thing/infer", json!({"inputs": [input]}))
            .await
            .problem(status, slug);
        assert_eq!(problem["error"], problem["detail"]);
    }
    let missing = api.get("/v2/models/nothing").await.problem(404, "not-found");
    assert!(missing["error"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_torchserve_are_served() {
    let server = with_model().await;
    let api = &server.api;
    assert_eq!(
        api.get("/ping").await.expect(200).json(),
        json!({"status": "Healthy"})
    );
    let picture = pictures::png(1, 500, 40);
    let expected = probabilities(&server, &picture).await;
    let raw = api.put("/predictions/thing", picture.clone()).await.expect(200);
    assert!(
        raw.text.starts_with("{\"class-1\":"),
        "the likeliest first: {}",
        raw.text
    );
    let labels = raw.json();
    let in_order = ["class-0", "class-1", "class-2"].map(|label| labels[label].as_f64().unwrap());
    assert_close(&in_order, &expected);
    let form = Form::new().part("data", Part::bytes(picture.clone()).file_name("x.png"));
    let request = api.request(Method::POST, "/predictions/thing/1").multipart(form);
    let form = api.send(request).await.expect(200).json();
    assert_close(&[form["class-1"].as_f64().unwrap()], &expected[1..2]);
    let request = api.request(Method::POST, "/predictions/thing/2").body(picture);
    api.send(request).await.problem(404, "not-found");
    api.put("/predictions/thing", b"words".to_vec())
        .await
        .problem(415, "image-unsupported");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_a_class_have_feature_vectors_that_are_close() {
    let server = with_model().await;
    let api = &server.api;
    let path = "/v1/models/thing/embeddings?normalize=true";
    let one = api.put(path, pictures::png(0, 600, 40)).await.expect(200);
    assert!(one.headers.contains_key("server-timing"));
    let one = numbers(&one.json()["embedding"]);
    assert_eq!(one.len(), 512);
    let length: f64 = one.iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    let images = [pictures::png(0, 601, 40), pictures::png(1, 602, 40)];
    let mut images: Vec<String> = images.iter().map(|image| STANDARD.encode(image)).collect();
    images.push(STANDARD.encode("no image"));
    let list = api.post(path, json!({"images": images})).await.expect(200).json();
    let cosine = |other: &Value| -> f64 {
        let other = numbers(&other["embedding"]);
        one.iter().zip(&other).map(|(a, b)| a * b).sum()
    };
    let (same, different) = (cosine(&list["data"][0]), cosine(&list["data"][1]));
    assert!(same > different, "{same} and {different}");
    assert_eq!(list["data"][2]["error"]["code"], "image-unsupported");
    let plain = api
        .put("/v1/models/thing/embeddings", pictures::png(0, 600, 40))
        .await
        .expect(200)
        .json();
    let plain = numbers(&plain["embedding"]);
    let scale = plain.iter().map(|value| value * value).sum::<f64>().sqrt();
    let scaled: Vec<f64> = plain.iter().map(|value| value / scale).collect();
    assert_close(&scaled, &one);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_is_a_picture_of_where_the_class_was_seen() {
    // Of a picture of 64 pixels the last stage sees four places.
    let server = with_model_of(64).await;
    let api = &server.api;
    let picture = pictures::png(1, 700, 80);
    let expected = probabilities(&server, &picture).await;
    // Whichever it is: a few steps of training need not have got it right.
    let likeliest = (0..3)
        .max_by(|one, other| expected[*one].total_cmp(&expected[*other]))
        .unwrap();
    let explain = async |query: &str| {
        let path = format!("/v1/models/thing/explain{query}");
        let answer = api
            .request(Method::POST, &path)
            .body(picture.clone())
            .send()
            .await;
        answer.unwrap().error_for_status().unwrap()
    };
    let best = explain("").await;
    assert_eq!(best.headers()["content-type"], "image/png");
    assert_eq!(best.headers()["class-index"], likeliest.to_string());
    let header = |name: &str| best.headers()[name].to_str().unwrap().parse::<f64>().unwrap();
    assert_close(&[header("class-probability")], &expected[likeliest..=likeliest]);
    let best = best.bytes().await.unwrap();
    let drawn = image::load_from_memory(&best).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (64, 64));
    let named = explain(&format!("?class=class-{likeliest}"))
        .await
        .bytes()
        .await
        .unwrap();
    assert_eq!(best, named);
    let unlikely = (likeliest + 1) % 3;
    let other = explain(&format!("?class={unlikely}")).await;
    assert_eq!(other.headers()["class-index"], unlikely.to_string());
    assert_ne!(best, other.bytes().await.unwrap());
    api.put("/v1/models/thing/explain?class=bees", picture.clone())
        .await
        .problem(422, "invalid");
    api.put("/v1/models/thing/explain", b"words".to_vec())
        .await
        .problem(415, "image-unsupported");
    server.stop().await;
}
