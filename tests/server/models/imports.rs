//! Models from elsewhere: bundles, weights with labels, and everything that is neither.

use std::{collections::BTreeSet, fs, path::Path};

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{quick, train};
use crate::support::{Api, Server, api::Answer, patience::wait_until_no_work_is_left, pictures};

/// A server with a small trained model, the model, its weights and its bundle.
async fn with_model() -> (Server, Value, Vec<u8>, Vec<u8>) {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 12)).await;
    let mut spec = quick();
    spec["backbone"] = json!({"architecture": "resnet20", "weights": "none"});
    let model = train(api, spec).await;
    let digest = model["sha256"].as_str().unwrap();
    let weights = fs::read(server.data_dir().join("blobs").join(&digest[..2]).join(digest)).unwrap();
    let bundle = bundle(&model["card"], &weights);
    (server, model, weights, bundle)
}

fn bundle(card: &Value, weights: &[u8]) -> Vec<u8> {
    pictures::zip([
        ("model.json", card.to_string().into_bytes()),
        ("model.safetensors", weights.to_vec()),
    ])
}

/// Sends a file with texts beside it.
async fn send(api: &Api, file: &[u8], fields: &[(&str, &str)]) -> Answer {
    let part = Part::bytes(file.to_vec()).file_name("../my weights.safetensors");
    let form = fields.iter().fold(Form::new(), |form, (name, text)| {
        form.text(name.to_string(), text.to_string())
    });
    let request = api
        .request(Method::POST, "/v1/models")
        .multipart(form.part("file", part));
    api.send(request).await
}

async fn predicted(api: &Api, model: &str, picture: &[u8]) -> Value {
    let path = format!("/v1/models/{model}/predict");
    api.put(&path, picture.to_vec()).await.expect(200).json()["predictions"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_comes_back_as_the_model_that_it_was() {
    let (server, model, _, bundle) = with_model().await;
    let api = &server.api;
    let created = api
        .put("/v1/models?name=returned", bundle.clone())
        .await
        .expect(201);
    let imported = created.json();
    assert_eq!(
        created.headers["location"],
        format!("/v1/models/{}", imported["id"].as_str().unwrap()).as_str()
    );
    for same in ["sha256", "bytes", "card"] {
        assert_eq!(imported[same], model[same], "{same}");
    }
    assert_eq!(
        (&imported["source"], &imported["job"], &imported["version"]),
        (&json!("imported"), &Value::Null, &json!(1))
    );
    assert_eq!(imported["imported_from"]["format"], "bundle");
    assert_eq!(
        imported["imported_from"]["sha256"],
        finetuned::files::digest::of_bytes(&bundle)
    );
    let picture = pictures::png(1, 40, 40);
    assert_eq!(
        predicted(api, "returned", &picture).await,
        predicted(api, "thing", &picture).await
    );
    let lineage = api.get("/v1/models/returned/lineage").await.expect(200).json();
    let step = &lineage["models"][0];
    assert_eq!(
        (&step["job"], &step["base_weights"]["from"]),
        (&Value::Null, &json!("none"))
    );
    assert_eq!(
        step["dataset"]["content_sha256"],
        model["card"]["dataset"]["content_sha256"]
    );
    assert_eq!(step["imported_from"], imported["imported_from"]);

    // The same again is the same; under another name it is another; with a form as well.
    assert_eq!(
        api.put("/v1/models?name=returned", bundle.clone())
            .await
            .expect(200)
            .json()["id"],
        imported["id"]
    );
    let again = send(api, &bundle, &[("name", "returned")])
        .await
        .expect(200)
        .json();
    assert_eq!(again["id"], imported["id"]);
    let named = send(api, &bundle, &[]).await.expect(201).json();
    assert_eq!(
        (&named["name"], &named["imported_from"]["file_name"]),
        (&json!("my-weights"), &json!("my weights.safetensors"))
    );

    // It is a model as any other.
    let mut next = quick();
    next["backbone"] = json!({"architecture": "resnet20", "weights": "returned"});
    next["name"] = json!("tuned");
    let tuned = train(api, next).await;
    assert_eq!(tuned["card"]["base_weights"], imported["id"]);
    api.delete("/v1/models/returned").await.expect(204);
    let data = server.stop().await;
    let server = Server::on(data, |_| {}).await;
    assert_eq!(
        server.api.get("/v1/models/my-weights").await.expect(200).json()["id"],
        named["id"]
    );
    assert!(predicted(&server.api, "my-weights", &picture).await.is_array());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_with_labels_are_served_at_once() {
    let (server, model, weights, _) = with_model().await;
    let api = &server.api;
    let picture = pictures::png(1, 40, 40);
    let original = predicted(api, "thing", &picture).await;
    let temperature = model["card"]["temperature"].as_f64().unwrap();
    let labels = json!(["left", "right"]).to_string();
    let imported = send(api, &weights, &[("name", "named"), ("labels", &labels)])
        .await
        .expect(201)
        .json();
    let card = &imported["card"];
    assert_eq!(
        (&card["architecture"], &card["classes"]),
        (&json!("resnet20"), &json!(["left", "right"]))
    );
    assert_eq!(card["preprocessing"], model["card"]["preprocessing"]);
    assert_eq!(
        imported["sha256"], model["sha256"],
        "the same tensors are the same file"
    );
    assert!(card.get("metrics").is_none() && card.get("dataset").is_none());
    // The same logits, under other names; nobody told the temperature, so it is 1.
    let found = predicted(api, "named", &picture).await;
    let names = json!({"class-0": "left", "class-1": "right"});
    assert_eq!(found[0]["label"], names[original[0]["label"].as_str().unwrap()]);
    let logit = |predictions: &Value| {
        let [a, b] = [0, 1].map(|index| predictions[index]["probability"].as_f64().unwrap());
        (a / b).ln()
    };
    assert!(
        (logit(&found) - logit(&original) * temperature).abs() < 1e-3,
        "{found} and {original}"
    );

    let lines = [
        ("labels", "left\nright\n"),
        ("name", "squashed"),
        ("architecture", "resnet20"),
        ("image_size", "64"),
        ("resize", "squash"),
        ("mean", "[0.5, 0.5, 0.5]"),
        ("std", "0.25,0.25,0.25"),
    ];
    let other = send(api, &weights, &lines).await.expect(201).json();
    let recipe = json!({"resize": "squash", "resize_to": 64, "crop": 64, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]});
    assert_eq!(other["card"]["preprocessing"], recipe);
    assert!(predicted(api, "squashed", &picture).await.is_array());

    api.get("/v1/models/named/evaluation")
        .await
        .problem(404, "no-evaluation");
    let lineage = api.get("/v1/models/named/lineage").await.expect(200).json();
    assert_eq!(
        lineage["models"][0]["base_weights"],
        json!({"from": "unknown", "origin": null, "sha256": null})
    );
    assert_eq!(lineage["models"][0]["dataset"], Value::Null);
    // It is measured as any other, on classes that it knows.
    let labels = json!(["class-0", "class-1"]).to_string();
    send(api, &weights, &[("name", "measured"), ("labels", &labels)])
        .await
        .expect(201);
    let job = api
        .submit(json!({"kind": "evaluate", "model": "measured", "dataset": "things", "split": "all"}))
        .await;
    assert_eq!(api.finished(&job).await["status"], "succeeded");
    server.stop().await;
}

/// Everything that the server keeps, and what is on its way.
fn files(data: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["blobs", "spool", "runs"] {
        let mut folders = vec![data.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => drop(found.insert(path.to_string_lossy().into_owned())),
                }
            }
        }
    }
    found
}

/// For the two classes of the weights.
const LABELS: (&str, &str) = ("labels", "[\"a\", \"b\"]");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_model_is_refused_and_leaves_nothing() {
    let (server, model, weights, bundle_file) = with_model().await;
    let api = &server.api;
    wait_until_no_work_is_left(&server).await;
    let before = files(&server.data_dir());
    api.put(
        "/v1/aliases/production",
        json!({"model": "thing"}).to_string().into_bytes(),
    )
    .await
    .expect(201);
    what_is_of_no_kind_that_is_taken_is_refused(api).await;
    what_is_damaged_is_refused(api, &weights).await;
    what_does_not_fit_together_is_refused(api, &model, &weights).await;
    every_fault_beside_the_file_is_told(api, &weights, &bundle_file).await;
    a_form_that_says_too_much_or_too_little_is_refused(api, &weights, &bundle_file).await;
    let models = api.get("/v1/models").await.expect(200).json();
    assert_eq!(models["data"].as_array().unwrap().len(), 1, "{models:#}");
    assert_eq!(files(&server.data_dir()), before);
    // What was refused has hurt nothing.
    api.put("/v1/models?name=fine", bundle_file).await.expect(201);
    server.stop().await;
}

async fn what_is_of_no_kind_that_is_taken_is_refused(api: &Api) {
    for file in [
        b"hello".to_vec(),
        Vec::new(),
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(),
        vec![b'x'; 4096],
    ] {
        send(api, &file, &[LABELS])
            .await
            .problem(415, "model-unsupported");
        api.put("/v1/models?name=x", file)
            .await
            .problem(415, "model-unsupported");
    }
    let torch = pictures::zip([
        ("archive/data.pkl", b"\x80\x02.".to_vec()),
        ("archive/data/0", vec![0; 64]),
    ]);
    // Taken, but not without the names of its classes, and not if there are no tensors in it.
    let refused = api
        .put("/v1/models?name=x", torch.clone())
        .await
        .problem(422, "invalid");
    assert!(refused.to_string().contains("labels"), "{refused}");
    let refused = send(api, &torch, &[LABELS])
        .await
        .problem(415, "model-unsupported");
    assert!(
        refused["detail"].as_str().unwrap().contains("torch.save"),
        "{refused}"
    );
}

/// Of a kind that is taken, and damaged or a lie.
async fn what_is_damaged_is_refused(api: &Api, weights: &[u8]) {
    let with_header = |header: &str, data: &[u8]| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    let mut not_a_number = weights.to_vec();
    let end = not_a_number.len();
    not_a_number[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    for file in [
        weights[..weights.len() - 1].to_vec(),
        [weights, &b"trailing"[..]].concat(),
        with_header(
            "{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 4]}}",
            &[0; 4],
        ),
        with_header(
            "{\"a\": {\"dtype\": \"U8\", \"shape\": [2], \"data_offsets\": [0, 2]}, \"b\": {\"dtype\": \"U8\", \"shape\": [2], \"data_offsets\": [1, 3]}}",
            &[0; 3],
        ),
        [&u64::MAX.to_le_bytes()[..], b"{\"a\":{}}"].concat(),
        [&(17u64 << 20).to_le_bytes()[..], &vec![b'{'; 18 << 20]].concat(),
    ] {
        send(api, &file, &[LABELS, ("architecture", "resnet20")])
            .await
            .problem(422, "model-invalid");
    }
    // Floats come last in a file.
    let damaged = send(api, &not_a_number, &[LABELS])
        .await
        .problem(422, "model-invalid");
    assert!(
        damaged["detail"].as_str().unwrap().contains("not finite"),
        "{damaged}"
    );
}

/// Weights of another architecture, more classes than outputs, and a bundle without weights.
async fn what_does_not_fit_together_is_refused(api: &Api, model: &Value, weights: &[u8]) {
    let other = send(api, weights, &[LABELS, ("architecture", "resnet18")])
        .await
        .problem(422, "model-invalid");
    assert!(other["detail"].as_str().unwrap().contains("resnet18"), "{other}");
    let mut card = model["card"].clone();
    card["classes"] = json!(["a", "b", "c"]);
    let more = api
        .put("/v1/models?name=x", bundle(&card, weights))
        .await
        .problem(422, "invalid");
    assert_eq!(more["errors"][0]["pointer"], "/labels");
    let empty = pictures::zip([("model.json", b"{}".to_vec())]);
    api.put("/v1/models?name=x", empty)
        .await
        .problem(422, "model-invalid");
}

/// Wrong beside the file: all of it is told at once.
async fn every_fault_beside_the_file_is_told(api: &Api, weights: &[u8], bundle: &[u8]) {
    let faults = send(
        api,
        weights,
        &[("architecture", "vgg"), ("image_size", "7"), ("mean", "1")],
    )
    .await
    .problem(422, "invalid");
    assert_eq!(faults["errors"].as_array().unwrap().len(), 4, "{faults}");
    let three = send(api, weights, &[("labels", "a\nb\nc")])
        .await
        .problem(422, "invalid");
    assert_eq!(three["errors"][0]["pointer"], "/labels");
    for wrong in ["[\"a\", \"a\"]", "[\"a\", \"\"]", "[\"a\", \"../b\"]", "[1, 2]"] {
        send(api, weights, &[("labels", wrong)])
            .await
            .problem(422, "invalid");
    }
    send(api, bundle, &[LABELS]).await.problem(422, "invalid");
    send(api, weights, &[LABELS, ("name", "a b")])
        .await
        .problem(422, "invalid");
    send(api, weights, &[LABELS, ("name", "mdl_1")])
        .await
        .problem(422, "invalid");
    send(api, weights, &[LABELS, ("name", "production")])
        .await
        .problem(409, "name-taken");
}

async fn a_form_that_says_too_much_or_too_little_is_refused(api: &Api, weights: &[u8], bundle: &[u8]) {
    send(api, weights, &[LABELS, ("classes", "2")])
        .await
        .problem(400, "form-invalid");
    send(api, weights, &[LABELS, LABELS])
        .await
        .problem(400, "form-invalid");
    let form = Form::new().text("labels", "a");
    api.send(api.request(Method::POST, "/v1/models").multipart(form))
        .await
        .problem(400, "form-invalid");
    let part = |name: &'static str| Part::bytes(weights.to_vec()).file_name(name);
    let two = Form::new()
        .part("left", part("a.safetensors"))
        .part("right", part("b.safetensors"));
    let problem = api
        .send(api.request(Method::POST, "/v1/models").multipart(two))
        .await
        .problem(400, "form-invalid");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("`left` (file `a.safetensors`)") && detail.contains("`right`"),
        "{detail}"
    );
    api.put("/v1/models", bundle.to_vec())
        .await
        .problem(422, "invalid");
    api.put("/v1/models?name=x", weights.to_vec())
        .await
        .problem(422, "invalid");
    let long = "x".repeat(300 << 10);
    send(api, weights, &[("labels", &long)])
        .await
        .problem(413, "too-large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_named_after_its_file_and_gives_way_to_an_alias() {
    let (server, model, weights, bundle) = with_model().await;
    let api = &server.api;
    let target = json!({"model": model["id"]});
    let alias = api.request(Method::PUT, "/v1/aliases/insects").json(&target);
    api.send(alias).await.expect(201);
    let put = async |path: &str, bytes: &[u8]| api.put(path, bytes.to_vec()).await;
    // As `curl -T insects.zip …/v1/models/` sends it.
    let imported = put("/v1/models/insects.zip", &bundle).await.expect(201).json();
    assert_eq!(imported["name"], "insects-2");
    put("/v1/models/beetles.zip?name=insects", &bundle)
        .await
        .problem(409, "name-taken");
    let named = put("/v1/models/%D0%9C%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C.zip", &bundle).await;
    assert_eq!(named.expect(201).json()["name"], "model");
    for (field, file, name, status) in [
        ("weights", "insects.safetensors", "insects-2", 201),
        ("model", "Bienen.safetensors", "Bienen", 201),
        ("upload", "Bienen.safetensors", "Bienen", 200),
        ("file", "imagenet.safetensors", "model-imagenet", 201),
    ] {
        let part = Part::bytes(weights.clone()).file_name(file);
        let labels = Part::bytes(b"ants\nbees\n".to_vec()).file_name("classes.txt");
        let form = Form::new().part("labels", labels).part(field, part);
        let answer = api
            .send(api.request(Method::POST, "/v1/models").multipart(form))
            .await;
        assert_eq!(answer.expect(status).json()["name"], name, "{file}");
    }
    // What is no model is refused by what it is, whatever its name.
    for (file, bytes, words) in [
        ("r18.pth", &b"\x80\x02}q\x00."[..], "torch.save"),
        ("r18.ckpt", b"nonsense", "neither a file of weights"),
        (
            "r18.onnx",
            b"\x08\x07\x12\x07pytorch",
            "neither a file of weights",
        ),
    ] {
        let problem = put(&format!("/v1/models/{file}"), bytes)
            .await
            .problem(415, "model-unsupported");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem:#}");
    }
    // A job takes files from a folder of the server, by their endings.
    for file in ["r18.ckpt", "r18.bin", "R18.PTH", "r18.onnx"] {
        let spec = json!({"dataset": "things", "backbone": {"weights": file}});
        let problem = api.post("/v1/jobs", spec).await.problem(422, "invalid");
        let message = problem["errors"][0]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("`{file}`")) && message.contains("`.pth`"),
            "{message}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_keep_to_their_limits() {
    let (server, _, _, bundle) = with_model().await;
    let data = server.stop().await;
    let size = bundle.len() as u64;
    let server = Server::on(data, |config| config.limits.max_model_bytes = size - 1).await;
    server
        .api
        .put("/v1/models?name=x", bundle.clone())
        .await
        .problem(413, "too-large");
    let data = server.stop().await;
    let server = Server::on(data, |config| config.limits.import_deadline_seconds = 0).await;
    let late = server.api.put("/v1/models?name=x", bundle.clone()).await;
    assert!([429, 504].contains(&late.status), "{}", late.text);
    let data = server.stop().await;
    let server = Server::on(data, |config| config.limits.max_receiving_uploads = 0).await;
    server
        .api
        .put("/v1/models?name=x", bundle.clone())
        .await
        .problem(429, "too-many-uploads");
    let data = server.stop().await;
    // One at a time: the others wait for their turn, and the same is the same.
    let server = Server::on(data, |config| config.limits.max_imports = 1).await;
    let imports = (0..6).map(|_| server.api.put("/v1/models?name=many", bundle.clone()));
    let answers = futures_util::future::join_all(imports).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1);
    assert!(answers.iter().all(|answer| [200, 201].contains(&answer.status)));
    server.stop().await;
}
