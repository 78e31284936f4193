//! Bodies in a `Content-Encoding`, and JSON with nulls.

use std::io::Write;

use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, api::Answer, pictures};

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_body_is_read_within_the_limits_and_a_file_is_taken_as_it_is() {
    let server = Server::with(|config| config.limits.max_json_bytes = 20_000).await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let send = async |method: Method, path: &str, encoding: &str, body: Vec<u8>| -> Answer {
        let request = api.request(method, path).header("content-encoding", encoding);
        let request = request.header("content-type", "application/json");
        api.send(request.body(body)).await
    };
    let spec = json!({"dataset": "things", "backbone": {"weights": "none"}}).to_string();
    let submit = "/v1/jobs?dry_run=true";
    for (encoding, body) in [
        ("gzip", gzip(spec.as_bytes())),
        ("x-gzip", gzip(spec.as_bytes())),
        ("GZIP", gzip(spec.as_bytes())),
        ("deflate", deflate(spec.as_bytes())),
        ("identity", spec.as_bytes().to_vec()),
        (
            "gzip",
            [gzip(&spec.as_bytes()[..9]), gzip(&spec.as_bytes()[9..])].concat(),
        ),
    ] {
        let resolved = send(Method::POST, submit, encoding, body)
            .await
            .expect(200)
            .json();
        assert_eq!(resolved["dataset"], "things", "{encoding}");
    }
    // All of a body counts: what follows the encoded data is not dropped.
    let end = [gzip(spec.as_bytes()), gzip(b", and no JSON")].concat();
    send(Method::POST, submit, "gzip", end)
        .await
        .problem(400, "json-invalid");
    for (encoding, body) in [
        ("gzip", gzip(spec.as_bytes())),
        ("deflate", deflate(spec.as_bytes())),
    ] {
        let trailing = [body, b"trailing bytes".to_vec()].concat();
        send(Method::POST, submit, encoding, trailing)
            .await
            .problem(400, "encoding-invalid");
    }
    // What is too large decoded is too large, however small it came.
    let large = format!(
        "{{\"dataset\": \"things\", \"name\": \"{}\"}}",
        "x".repeat(10 << 20)
    );
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(large.as_bytes()).unwrap();
    let small = encoder.finish().unwrap();
    assert!(small.len() < 100_000);
    send(Method::POST, submit, "gzip", small)
        .await
        .problem(413, "too-large");
    let mut cut = gzip(spec.as_bytes());
    cut.truncate(cut.len() / 2);
    for body in [spec.as_bytes().to_vec(), cut, b"\x1f\x8b".to_vec()] {
        let problem = send(Method::POST, submit, "gzip", body)
            .await
            .problem(400, "encoding-invalid");
        assert!(
            problem["detail"].as_str().unwrap().contains("gzip"),
            "{problem:#}"
        );
    }
    for path in [
        submit,
        "/v1/datasets/things/split",
        "/v1/models/thing/predict",
        "/v2/models/thing/infer",
    ] {
        for encoding in ["br", "zstd", "compress", "gzip, gzip", "identity, br"] {
            let refused = send(Method::POST, path, encoding, b"{}".to_vec()).await;
            let problem = refused.problem(415, "encoding-unsupported");
            assert_eq!(refused.headers["accept-encoding"], "gzip, deflate", "{path}");
            assert!(
                problem["detail"].as_str().unwrap().contains("gzip"),
                "{problem:#}"
            );
        }
    }
    for (method, path) in [
        (Method::PUT, "/v1/datasets?name=x"),
        (Method::POST, "/v1/datasets/"),
        (Method::PUT, "/v1/datasets/x.tar.gz"),
        (Method::PUT, "/v1/models?name=x"),
        (Method::PUT, "/v1/models/x.safetensors"),
        (Method::POST, "/v1/datasets/things/images"),
        (Method::POST, "/v1/uploads"),
        (Method::PATCH, "/v1/uploads/upl_1"),
    ] {
        for encoding in ["gzip", "br", "identity, gzip"] {
            let refused = send(method.clone(), path, encoding, gzip(b"{}")).await;
            refused.problem(415, "encoding-unsupported");
            assert_eq!(refused.headers["accept-encoding"], "identity", "{path}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_null_is_as_if_it_were_absent() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let dry = async |spec: Value| api.post("/v1/jobs?dry_run=true", spec).await;
    let smallest = json!({"dataset": "things", "backbone": {"weights": "none"}});
    let resolved = dry(smallest.clone()).await.expect(200).json();
    for more in [
        json!({"epochs": null}),
        json!({"kind": null, "name": null, "metadata": null}),
        json!({"image": null, "augment": null, "optimizer": null, "schedule": null, "loss": null, "split": null}),
        json!({"optimizer": {"lr": null, "name": null}, "image": {"size": null}}),
        json!({"augment": {"mixup": null, "rand_augment": null}}),
        json!({"split": {"val": null, "group_by": null}, "freeze": null}),
        json!({"backbone": {"weights": "none", "architecture": null}}),
        json!({"metadata": {"by": null}}),
        json!({"a_field_of_tomorrow": null, "optimizer": {"another": null}}),
    ] {
        let mut spec = smallest.clone();
        for (name, value) in more.as_object().unwrap() {
            spec[name] = value.clone();
        }
        assert_eq!(dry(spec).await.expect(200).json(), resolved, "{more}");
    }
    // A resolved spec, in which unset fields are null, is itself one.
    assert!(resolved["early_stopping"].is_null(), "{resolved:#}");
    assert_eq!(dry(resolved.clone()).await.expect(200).json(), resolved);
    let mut frozen = json!({"dataset": "things", "freeze": {"until": "layer3", "gradual": null}});
    let until = dry(frozen.clone()).await.expect(200).json();
    assert_eq!(until["freeze"], json!({"until": "layer3"}));
    // Absent is not the same as of no consequence.
    frozen["dataset"] = json!(null);
    let problem = dry(frozen).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "missing", "{problem:#}");
    for (path, body, pointer) in [
        (
            "/v1/jobs",
            json!({"kind": "evaluate", "dataset": "things", "model": null}),
            "/model",
        ),
        ("/v1/jobs", json!(null), ""),
        ("/v1/datasets/things/preview", json!([null]), ""),
    ] {
        let problem = api.post(path, body).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem:#}");
    }
    let preview = json!({"images": null, "views": 1, "augment": {"mixup": null}, "image": {"size": 32}, "backbone": null});
    let drawn = api
        .request(Method::POST, "/v1/datasets/things/preview")
        .json(&preview)
        .send()
        .await
        .unwrap();
    assert_eq!(drawn.status(), 200);
    let split = json!({"val": null, "test": null, "group_by": {"parts": null}});
    api.post("/v1/datasets/things/split", split).await.expect(201);
    let patch = async |path: &str, body: Value| api.send(api.request(Method::PATCH, path).json(&body)).await;
    let changes = json!({"images": [{"id": 0, "class": "class-1", "split": null, "remove": null}]});
    patch("/v1/datasets/things/images", changes).await.expect(200);
    let change = json!({"class": null, "split": "val"});
    patch("/v1/datasets/things/images/1", change).await.expect(200);
    let nothing = patch(
        "/v1/datasets/things/images/1",
        json!({"class": null, "split": null}),
    )
    .await;
    nothing.problem(422, "invalid");
    let alias = api
        .request(Method::PUT, "/v1/aliases/production")
        .json(&json!({"model": null}));
    let problem = api.send(alias).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["code"], "missing", "{problem:#}");
    server.stop().await;
}
