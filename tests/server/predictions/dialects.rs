//! The same image in the ways that people's tools write it, to all the addresses that they know.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use reqwest::{
    Method, RequestBuilder,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::with_model;
use crate::{
    http::encodings::gzip,
    support::{Api, api::Answer, pictures},
};

const PREDICT: &str = "/v1/models/thing/predict";
const INSTANCES: &str = "/v1/models/thing:predict";

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_read_however_it_is_written_and_wherever_it_is_sent() {
    let server = with_model().await;
    let api = &server.api;
    let picture = pictures::png(1, 500, 40);
    base64_of_all_kinds(api, &picture).await;
    what_is_no_base64_is_told_with_its_place(api, &picture).await;
    forms_whose_file_has_another_name(api, &picture).await;
    forms_that_cannot_be_read(api, &picture).await;
    instances_of_tensorflow_serving(api, &picture).await;
    instances_that_are_refused(api, &picture).await;
    nulls_in_all_dialects(api, &picture).await;
    versions_slashes_and_encodings(api, &picture).await;
    server.stop().await;
}

/// As `base64`, `openssl`, Python's `encodebytes`, browsers and JavaScript libraries write it.
fn written(picture: &[u8]) -> Vec<String> {
    let plain = STANDARD.encode(picture);
    let lines = |width: usize, end: &str| {
        let lines: Vec<&str> = plain
            .as_bytes()
            .chunks(width)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        lines.join(end) + end
    };
    vec![
        plain.clone(),
        lines(76, "\n"),
        lines(64, "\r\n"),
        lines(60, "\n    "),
        STANDARD_NO_PAD.encode(picture),
        URL_SAFE_NO_PAD.encode(picture),
        format!("data:image/png;base64,{plain}"),
        format!("data:IMAGE/PNG;BASE64,{}", lines(76, "\n")),
        format!("data:;base64,{}", URL_SAFE_NO_PAD.encode(picture)),
        format!("b'{plain}'"),
    ]
}

async fn base64_of_all_kinds(api: &Api, picture: &[u8]) {
    let texts = written(picture);
    let list = api
        .post(PREDICT, json!({"images": texts}))
        .await
        .expect(200)
        .json();
    for (answer, text) in list["data"].as_array().unwrap().iter().zip(&texts) {
        assert_eq!(
            answer["predictions"][0]["label"], "class-1",
            "{answer:#} {text:.80}"
        );
    }
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [texts.len()], "data": texts});
    let answer = api
        .post("/v2/models/thing/infer", json!({"inputs": [input]}))
        .await
        .expect(200)
        .json();
    assert_eq!(answer["outputs"][1]["data"], json!(vec!["class-1"; texts.len()]));
    let instances: Vec<Value> = texts.iter().map(|text| json!({"b64": text})).collect();
    let answer = api
        .post(INSTANCES, json!({"instances": instances}))
        .await
        .expect(200)
        .json();
    for prediction in answer["predictions"].as_array().unwrap() {
        assert_eq!(prediction["label"], "class-1");
    }
}

async fn what_is_no_base64_is_told_with_its_place(api: &Api, picture: &[u8]) {
    let plain = STANDARD.encode(picture);
    for (text, reason) in [
        (
            format!("{}!{}", &plain[..20], &plain[20..]),
            "character 21 is `!`",
        ),
        (format!("data:image/png,{plain}"), "`;base64`"),
        (
            "https://example.com/cat.jpg".to_owned(),
            "an address is not followed",
        ),
        ("cat.jpg".to_owned(), "if this is the name of a file"),
        (String::new(), "it is empty"),
        ("AAAAA".to_owned(), "cut short"),
    ] {
        let list = api
            .post(PREDICT, json!({"images": [plain, text]}))
            .await
            .expect(200)
            .json();
        assert_eq!(list["data"][0]["predictions"][0]["label"], "class-1");
        let error = &list["data"][1]["error"];
        let message = error["message"].as_str().unwrap();
        assert_eq!(error["code"], "base64-invalid");
        assert!(
            message.contains("`images[1]`") && message.contains(reason),
            "{message}"
        );
        let input = json!({"name": "image", "datatype": "BYTES", "shape": [2], "data": [plain, text]});
        let problem = api
            .post("/v2/models/thing/infer", json!({"inputs": [input]}))
            .await;
        let problem = problem.problem(400, "inference-request-invalid");
        let detail = problem["error"].as_str().unwrap();
        assert!(
            detail.contains("element 1") && detail.contains(reason),
            "{detail}"
        );
        let problem = api
            .post(INSTANCES, json!({"instances": [{"b64": plain}, {"b64": text}]}))
            .await;
        let problem = problem.problem(422, "base64-invalid");
        let detail = problem["error"].as_str().unwrap();
        assert!(
            detail.contains("`instances[1].b64`") && detail.contains(reason),
            "{detail}"
        );
    }
}

async fn forms_whose_file_has_another_name(api: &Api, picture: &[u8]) {
    let part = || Part::bytes(picture.to_vec()).file_name("x.png");
    let send = async |path: &str, form: Form| api.send(api.request(Method::POST, path).multipart(form)).await;
    for field in ["file", "data", "image", "images[]", "upload", "Bild", ""] {
        for path in [
            PREDICT,
            "/v1/models/thing/embeddings",
            "/predictions/thing",
            "/predictions/thing/1",
        ] {
            send(path, Form::new().part(field, part())).await.expect(200);
        }
    }
    let form = Form::new()
        .text("note", "a picture")
        .part("picture", part())
        .text("top_k", "3");
    let one = send(PREDICT, form).await.expect(200).json();
    assert_eq!(one["predictions"][0]["label"], "class-1");
    let form = Form::new().part("left", part()).part("right", part());
    let two = send(PREDICT, form).await.expect(200).json();
    assert_eq!(two["data"].as_array().unwrap().len(), 2);
    // Without a file name only the usual fields are files.
    let bare = Form::new().part("file", Part::bytes(picture.to_vec()));
    send(PREDICT, bare).await.expect(200);
    for (form, found) in [
        (Form::new(), ""),
        (Form::new().text("image", STANDARD.encode(picture)), "`image`"),
        (Form::new().text("a", "1").text("b", "2"), "`a`, `b`"),
    ] {
        let problem = send(PREDICT, form).await.problem(400, "form-invalid");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(found), "{detail}");
    }
}

async fn forms_that_cannot_be_read(api: &Api, picture: &[u8]) {
    let send = async |kind: &str, body: Vec<u8>| {
        let request = api.request(Method::POST, PREDICT).header("content-type", kind);
        let problem = api.send(request.body(body)).await.problem(400, "form-invalid");
        problem["detail"].as_str().unwrap().to_owned()
    };
    let head = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.png\"\r\n\r\n";
    let whole = [&head[..], picture, b"\r\n--x--\r\n"].concat();
    let told = send("multipart/form-data", whole.clone()).await;
    assert!(told.contains("no `boundary`"), "{told}");
    let told = send("multipart/form-data; boundary=y", whole.clone()).await;
    assert!(told.contains("separator"), "{told}");
    let told = send(
        "multipart/form-data; boundary=x",
        whole[..whole.len() / 2].to_vec(),
    )
    .await;
    assert!(told.contains("cut short"), "{told}");
    let told = send("multipart/form-data; boundary=x", Vec::new()).await;
    assert!(told.contains("cut short"), "{told}");
    let told = send(
        "multipart/form-data; boundary=x",
        b"--x\r\n\0\0: \0\r\n\r\nabc\r\n--x--\r\n".to_vec(),
    )
    .await;
    assert!(told.contains("Content-Disposition"), "{told}");
}

async fn instances_of_tensorflow_serving(api: &Api, picture: &[u8]) {
    let other = pictures::png(2, 501, 40);
    let (one, two) = (STANDARD.encode(picture), STANDARD.encode(&other));
    let own = api.put(PREDICT, picture.to_vec()).await.expect(200).json();
    for instances in [
        json!([{"b64": one}, {"b64": two}]),
        json!([{"image_bytes": {"b64": one}}, {"image_bytes": {"b64": two}}]),
        json!([one, two]),
        json!([{"key": "1", "image_bytes": {"b64": one}}, {"input_1": {"b64": two}}]),
        json!([{"data": one}, {"content": two, "mimeType": "image/png"}]),
        json!([[one], [{"b64": two}]]),
    ] {
        let answer = api
            .post(INSTANCES, json!({"instances": instances}))
            .await
            .expect(200);
        assert_eq!(answer.headers["model-id"].to_str().unwrap(), own["model"]);
        let predictions = answer.json()["predictions"].clone();
        let labels: Vec<_> = predictions
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["label"])
            .collect();
        assert_eq!(labels, ["class-1", "class-2"]);
        assert_eq!(predictions[0]["classes"], 1);
        let probabilities = predictions[0]["probabilities"].as_array().unwrap();
        let likeliest = own["predictions"][0]["probability"].as_f64().unwrap();
        assert!(
            (probabilities[1].as_f64().unwrap() - likeliest).abs() < 1e-5,
            "{predictions:#}"
        );
        assert_eq!(probabilities.len(), 3);
    }
    let body = json!({"signature_name": "serving_default", "instances": [{"b64": one}]});
    for path in [
        INSTANCES,
        "/v1/models/thing@1:predict",
        "/v1/models/thing/versions/1:predict",
        "/v1/models/thing/versions/1.0:predict",
        "/v1/models/thing%3Apredict",
        "/v1/models/thing:predict/",
    ] {
        // As `curl -d` sends it, and without any media type.
        let typed = "application/x-www-form-urlencoded";
        let request = |typed: Option<&str>| {
            let request = api.request(Method::POST, path).body(body.to_string());
            typed.map_or(request.try_clone().unwrap(), |typed| {
                request.header("content-type", typed)
            })
        };
        for request in [
            request(Some(typed)),
            request(None),
            request(Some("application/json")),
        ] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(answer["predictions"][0]["label"], "class-1", "{path}");
        }
    }
    // The model itself is described as before.
    let model = api.get("/v1/models/thing").await.expect(200).json();
    assert_eq!(
        (&model["object"], &model["name"]),
        (&json!("model"), &json!("thing"))
    );
}

async fn instances_that_are_refused(api: &Api, picture: &[u8]) {
    let one = STANDARD.encode(picture);
    for (body, status, slug, words) in [
        (
            json!({"instances": [[[0.1, 0.2], [0.3, 0.4]]]}),
            422,
            "invalid",
            "/v2/models/{model}/infer",
        ),
        (
            json!({"instances": [{"b64": one}, [1, 2, 3]]}),
            422,
            "invalid",
            "instances/1",
        ),
        (
            json!({"instances": [{"sepal_length": 1}]}),
            422,
            "invalid",
            "`sepal_length`",
        ),
        (json!({"instances": []}), 422, "invalid", "number of images"),
        (
            json!({"instances": vec!["AAAA"; 65]}),
            422,
            "invalid",
            "number of images",
        ),
        (
            json!({"inputs": {"image": [{"b64": one}]}}),
            422,
            "invalid",
            "columns",
        ),
        (json!({}), 422, "invalid", "send the images"),
        (json!([one]), 422, "invalid", "object"),
        (
            json!({"instances": [{"b64": STANDARD.encode("no image")}]}),
            415,
            "image-unsupported",
            "instance 0",
        ),
    ] {
        let problem = api.post(INSTANCES, body.clone()).await.problem(status, slug);
        assert_eq!(problem["error"], problem["detail"]);
        assert!(
            problem["detail"].as_str().unwrap().contains(words),
            "{body}: {problem:#}"
        );
    }
    let twice = api
        .request(Method::POST, INSTANCES)
        .body(r#"{"instances": [], "instances": ["x"]}"#);
    api.send(twice).await.problem(400, "json-invalid");
    let body = json!({"instances": [{"b64": one}]});
    api.post("/v1/models/nothing:predict", body.clone())
        .await
        .problem(404, "not-found");
    api.post("/v1/models/thing/versions/7:predict", body.clone())
        .await
        .problem(404, "not-found");
    for verb in ["explain", "classify", "regress", "Predict"] {
        let problem = api
            .post(&format!("/v1/models/thing:{verb}"), body.clone())
            .await
            .problem(404, "not-found");
        assert!(
            problem["detail"].as_str().unwrap().contains(":predict"),
            "{problem:#}"
        );
    }
    let without = api.post("/v1/models/thing", body).await;
    without.problem(405, "method-not-allowed");
    assert!(without.headers["allow"].to_str().unwrap().contains("PATCH"));
}

async fn nulls_in_all_dialects(api: &Api, picture: &[u8]) {
    let one = STANDARD.encode(picture);
    let images = json!({"images": [one], "top_k": null, "options": null});
    let list = api.post(PREDICT, images).await.expect(200).json();
    assert_eq!(list["data"][0]["predictions"][0]["label"], "class-1");
    for body in [
        json!({"id": null, "parameters": null, "outputs": null, "inputs": [
            {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": null, "data": [one]}]}),
        json!({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": null}, "data": [one]}],
            "outputs": [{"name": "probabilities", "parameters": null}, {"name": "label", "parameters": {"binary_data": null}}]}),
    ] {
        let answer = api.post("/v2/models/thing/infer", body).await.expect(200).json();
        assert_eq!(answer["outputs"][1]["data"], json!(["class-1"]));
        assert!(answer.get("id").is_none());
    }
    let instances =
        json!({"signature_name": null, "parameters": null, "instances": [{"key": null, "b64": one}]});
    api.post(INSTANCES, instances).await.expect(200);
    // A merge patch says something with null: it removes.
    let patch = async |body: Value| -> Answer {
        api.send(api.request(Method::PATCH, "/v1/models/thing").json(&body))
            .await
    };
    patch(json!({"metadata": {"by": "me", "note": "x"}}))
        .await
        .expect(200);
    let after = patch(json!({"name": null, "metadata": {"note": null}}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&after["name"], &after["metadata"]),
        (&json!("thing"), &json!({"by": "me"}))
    );
    let after = patch(json!({"metadata": null})).await.expect(200).json();
    assert_eq!(after["metadata"], json!({}));
    for nothing in [json!({"images": null}), json!({"images": [null]}), json!(null)] {
        api.post(PREDICT, nothing).await.problem(422, "invalid");
    }
}

async fn versions_slashes_and_encodings(api: &Api, picture: &[u8]) {
    let put = |path: &str| -> RequestBuilder { api.request(Method::PUT, path).body(picture.to_vec()) };
    let post = |path: &str| -> RequestBuilder { api.request(Method::POST, path).body(picture.to_vec()) };
    for version in ["1", "1.0", "1.0.0", "1/", "1.0/"] {
        let path = format!("/predictions/thing/{version}");
        api.send(put(&path)).await.expect(200);
        api.send(post(&path)).await.expect(200);
    }
    for version in ["2.0", "1.5", "0.1", "latest"] {
        let path = format!("/predictions/thing/{version}");
        api.send(post(&path)).await.problem(404, "not-found");
    }
    api.get("/v2/models/thing/versions/1.0").await.expect(200);
    for path in [PREDICT, "/predictions/thing"] {
        api.send(put(&format!("{path}/"))).await.expect(200);
    }
    let encoded = |path: &str, body: Vec<u8>| {
        api.request(Method::POST, path)
            .header("content-encoding", "gzip")
            .body(gzip(&body))
    };
    api.send(encoded(PREDICT, picture.to_vec())).await.expect(200);
    let one = STANDARD.encode(picture);
    let input = json!({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [one]}]});
    api.send(encoded("/v2/models/thing/infer", input.to_string().into_bytes()))
        .await
        .expect(200);
    let body = json!({"instances": [one]}).to_string().into_bytes();
    api.send(encoded(INSTANCES, body)).await.expect(200);
    let flood = vec![b' '; 65 << 20];
    api.send(encoded(INSTANCES, flood))
        .await
        .problem(413, "too-large");
    api.send(encoded(PREDICT, vec![0; 65 << 20]))
        .await
        .problem(413, "too-large");
}
