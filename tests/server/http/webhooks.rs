//! Webhooks: who is told what, that it is signed, that no message is lost, and where none goes.

use std::{path::Path, process::Stdio, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::support::{
    Api, Server,
    certificate::Certificate,
    document::Document,
    patience::wait_until,
    pictures,
    program::Program,
    receiver::{Message, Receiver},
};

const EVERYTHING: [&str; 5] = [
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "dataset.ready",
    "dataset.failed",
];

/// A server whose webhooks may go to this machine, and a receiver there.
async fn told() -> (Server, Receiver) {
    let receiver = Receiver::start().await;
    let server = Server::with(|config| {
        config.webhooks.webhook_targets = vec![receiver.base.parse().unwrap()];
        config.webhooks.webhook_allow_private = true;
    })
    .await;
    (server, receiver)
}

async fn create(api: &Api, url: &str, events: &[&str]) -> Value {
    let request = json!({"url": url, "events": events});
    api.post("/v1/webhooks", request).await.expect(201).json()
}

fn path_of(webhook: &Value) -> String {
    format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap())
}

/// Sends a message at once.
async fn try_out(api: &Api, webhook: &Value) -> Value {
    let test = format!("{}/test", path_of(webhook));
    api.send(api.request(Method::POST, &test))
        .await
        .expect(200)
        .json()
}

async fn log(api: &Api, webhook: &Value) -> Vec<Value> {
    let path = format!("{}/deliveries?order=asc", path_of(webhook));
    let page = api.get(&path).await.expect(200).json();
    page["data"].as_array().unwrap().clone()
}

/// Whether the function in docs/WEBHOOKS.md takes a message for the server's.
async fn verifies(secret: &str, message: &Message, body: &[u8]) -> bool {
    let document = Document::read("docs/WEBHOOKS.md");
    let (blocks, _) = document.parts();
    let python = blocks.iter().find(|block| block.language == "python").unwrap();
    let script = format!(
        "{}\nimport json, sys\nsecret, headers, body = json.load(sys.stdin)\ntry:\n    verify(secret, headers, bytes(body))\n\
        except ValueError as wrong:\n    print(wrong)\n    sys.exit(3)\n",
        python.lines.join("\n")
    );
    let header = |name: &str| (name.to_owned(), json!(message.header(name)));
    let headers: serde_json::Map<String, Value> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(header)
        .into_iter()
        .collect();
    let mut child = Command::new("python3")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let given = json!([secret, headers, body]).to_string();
    let mut input = child.stdin.take().unwrap();
    input.write_all(given.as_bytes()).await.unwrap();
    drop(input);
    let output = timeout(Duration::from_secs(60), child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    match output.status.code() {
        Some(0) => true,
        Some(3) => false,
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_every_job_and_dataset_is_told_once_and_signed() {
    let (server, mut receiver) = told().await;
    let api = &server.api;
    let webhook = create(api, &format!("{}/hook?a=b", receiver.base), &EVERYTHING).await;
    let secret = webhook["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{secret}");
    let failures = create(api, &format!("{}/failures", receiver.base), &["dataset.failed"]).await;
    let shown = api.get(&path_of(&webhook)).await.expect(200);
    assert!(!shown.text.contains("whsec_") && shown.json()["enabled"] == true);

    api.upload("things", pictures::flat_archive(2, 8)).await;
    let message = receiver.next().await;
    assert_eq!(message.path, "/hook");
    assert_eq!(message.header("content-type"), "application/json");
    let told = message.json();
    assert_eq!(
        (&told["type"], &told["data"]["name"]),
        (&json!("dataset.ready"), &json!("things"))
    );
    assert_eq!(
        (&told["data"]["images"], &told["data"]["classes"]),
        (&json!(16), &json!(2))
    );
    assert!(verifies(secret, &message, &message.body).await);
    assert!(!verifies(failures["secret"].as_str().unwrap(), &message, &message.body).await);
    let tampered = String::from_utf8(message.body.to_vec())
        .unwrap()
        .replace("things", "thinks");
    assert!(!verifies(secret, &message, tampered.as_bytes()).await);

    let empty = api
        .upload("nothing", pictures::zip([("a.txt", b"no image".to_vec())]))
        .await;
    assert_eq!(empty["status"], "failed");
    let mut both = [receiver.next().await, receiver.next().await];
    both.sort_by(|one, other| one.path.cmp(&other.path));
    assert_eq!(
        both.each_ref().map(|message| message.path.as_str()),
        ["/failures", "/hook"]
    );
    for message in &both {
        let told = message.json();
        assert_eq!(told["type"], "dataset.failed");
        assert_eq!(told["data"]["error"], empty["error"], "{told:#}");
    }

    let spec = json!({"dataset": "things", "name": "small", "backbone": {"architecture": "resnet20", "weights": "none"},
        "image": {"size": 32}, "epochs": 1, "batch_size": 8, "split": {"val": 0.25}});
    let job = api.finished(&api.submit(spec).await).await;
    let told = receiver.next().await.json();
    assert_eq!(
        (&told["type"], &told["data"]["id"]),
        (&json!("job.succeeded"), &job["id"])
    );
    for field in [
        "model",
        "best",
        "status",
        "kind",
        "name",
        "dataset",
        "finished_at",
        "stop_reason",
    ] {
        assert_eq!(told["data"][field], job[field], "{field}");
    }
    let waiting = api
        .submit(json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}}))
        .await;
    let cancel = format!("/v1/jobs/{}/cancel", waiting["id"].as_str().unwrap());
    api.send(api.request(Method::POST, &cancel)).await.expect(200);
    let told = receiver.next().await.json();
    assert_eq!(
        (&told["type"], &told["data"]["id"]),
        (&json!("job.cancelled"), &waiting["id"])
    );
    wait_until("all is noted", async || {
        log(api, &webhook)
            .await
            .iter()
            .all(|one| one["status"] == "delivered")
    })
    .await;
    let log = log(api, &webhook).await;
    let events: Vec<&str> = log.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(
        events,
        [
            "dataset.ready",
            "dataset.failed",
            "job.succeeded",
            "job.cancelled"
        ]
    );
    assert!(
        log.iter()
            .all(|one| one["attempts"][0]["status"] == 204 && one["attempts"][1].is_null()),
        "{log:#?}"
    );
    assert_eq!(log[0]["id"], message.header("webhook-id"));
    assert!(!receiver.has_more());

    // Nobody who is gone is told anything.
    api.delete(&path_of(&webhook)).await.expect(204);
    api.get(&path_of(&webhook)).await.problem(404, "not-found");
    api.upload("more", pictures::flat_archive(2, 3)).await;
    assert!(!receiver.has_more());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_taken_comes_again_under_the_same_id() {
    let (server, mut receiver) = told().await;
    let api = &server.api;
    let webhook = create(api, &receiver.base, &["dataset.ready"]).await;
    receiver.answer(&[500, 302]);
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let first = receiver.next().await;
    wait_until("the attempt is noted", async || {
        !log(api, &webhook).await[0]["attempts"][0].is_null()
    })
    .await;
    let one = &log(api, &webhook).await[0];
    assert_eq!(one["status"], "pending");
    assert_eq!(one["attempts"][0]["status"], 500);
    assert!(
        one["attempts"][0]["error"].as_str().unwrap().contains("500"),
        "{one:#}"
    );
    assert!(one["next_attempt_at"].as_str().unwrap() > one["attempts"][0]["at"].as_str().unwrap());
    let shown = api.get(&path_of(&webhook)).await.expect(200).json();
    assert!(
        shown["pending"] == 1 && shown["failing_since"].is_string(),
        "{shown:#}"
    );
    let metrics = api.get("/metrics").await.expect(200).text;
    assert!(
        metrics.contains("finetuned_webhook_deliveries_pending 1\n"),
        "{metrics}"
    );

    let again = receiver.next().await;
    assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(again.body, first.body);
    let two = async || log(api, &webhook).await[0]["attempts"].as_array().unwrap().len() == 2;
    wait_until("the second attempt is noted", two).await;
    // A redirect is not followed, and is no success.
    let one = &log(api, &webhook).await[0];
    assert_eq!(
        (&one["status"], &one["attempts"][1]["status"]),
        (&json!("pending"), &json!(302))
    );
    assert!(
        one["attempts"][1]["error"]
            .as_str()
            .unwrap()
            .contains("not followed"),
        "{one:#}"
    );
    assert!(!receiver.has_more());

    // A pause gives up what waits.
    let paused = api
        .request(Method::PATCH, &path_of(&webhook))
        .json(&json!({"enabled": false}));
    let paused = api.send(paused).await.expect(200).json();
    assert_eq!(
        (&paused["disabled_reason"], &paused["pending"]),
        (&json!("paused"), &json!(0))
    );
    let one = &log(api, &webhook).await[0];
    assert_eq!(
        (&one["status"], &one["error"]),
        (&json!("failed"), &json!("the webhook was switched off"))
    );
    api.upload("more", pictures::flat_archive(2, 3)).await;
    assert_eq!(log(api, &webhook).await.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_no_message() {
    let mut receiver = Receiver::start().await;
    let data = tempfile::tempdir().unwrap();
    let base = receiver.base.clone();
    let variables = [
        ("FINETUNED_WEBHOOK_TARGETS", base.as_str()),
        ("FINETUNED_WEBHOOK_ALLOW_PRIVATE", "true"),
    ];
    let program = Program::with_variables(variables, data.path());
    let webhook = create(&program.api, &receiver.base, &["dataset.ready"]).await;
    let secret = webhook["secret"].as_str().unwrap();
    receiver.answer(&[503]);
    program.api.upload("things", pictures::flat_archive(2, 3)).await;
    let first = receiver.next().await;
    // Whether the attempt was noted or not.
    program.kill();
    let program = Program::with_variables(variables, data.path());
    let again = receiver.next().await;
    assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(again.body, first.body);
    assert!(
        verifies(secret, &again, &again.body).await,
        "the key is another one"
    );
    let delivered = async || log(&program.api, &webhook).await[0]["status"] == "delivered";
    wait_until("it is noted", delivered).await;
    program.kill();
    assert_no_secret(data.path(), secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_tls_is_told_something_if_its_certificate_is_trusted() {
    let certificate = Certificate::new();
    let mut receiver = Receiver::with_tls(&certificate).await;
    let base = receiver.base.clone();
    let authority = certificate.authority();
    let variables = [
        ("FINETUNED_WEBHOOK_TARGETS", base.as_str()),
        ("FINETUNED_WEBHOOK_ALLOW_PRIVATE", "true"),
    ];
    let trusting = variables
        .into_iter()
        .chain([("SSL_CERT_FILE", authority.to_str().unwrap())]);
    let data = tempfile::tempdir().unwrap();
    let program = Program::with_variables(trusting, data.path());
    let webhook = create(&program.api, &format!("{base}/hook"), &["job.failed"]).await;
    let told = try_out(&program.api, &webhook).await;
    assert_eq!(told["attempts"][0]["status"], 204, "{told:#}");
    let message = receiver.next().await;
    assert_eq!(message.path, "/hook");
    assert!(verifies(webhook["secret"].as_str().unwrap(), &message, &message.body).await);
    program.kill();

    // The system's own authorities have not signed it.
    let program = Program::with_variables(variables, data.path());
    let told = try_out(&program.api, &webhook).await;
    let error = told["attempts"][0]["error"].as_str().unwrap();
    assert!(error.contains("certificate"), "{error}");
    assert!(!receiver.has_more());
}

/// Not even a part of it is in the data directory, in whatever file.
fn assert_no_secret(data: &Path, secret: &str) {
    let part = &secret.as_bytes()[6..30];
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(
            !bytes.windows(part.len()).any(|window| window == part),
            "{}",
            path.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_gone_is_told_nothing_more() {
    let (server, mut receiver) = told().await;
    let api = &server.api;
    let webhook = create(api, &receiver.base, &["dataset.ready"]).await;
    receiver.answer(&[410]);
    api.upload("things", pictures::flat_archive(2, 3)).await;
    receiver.next().await;
    let off = async || api.get(&path_of(&webhook)).await.expect(200).json()["disabled_reason"] == "gone";
    wait_until("it is switched off", off).await;
    api.upload("more", pictures::flat_archive(2, 3)).await;
    assert_eq!(log(api, &webhook).await.len(), 1);
    let patch = async |body: Value| {
        let request = api.request(Method::PATCH, &path_of(&webhook)).json(&body);
        api.send(request).await.expect(200).json()
    };
    let on = patch(json!({"enabled": true, "description": "the pager"})).await;
    assert_eq!(
        (&on["enabled"], &on["disabled_reason"], &on["failing_since"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    assert_eq!(on["description"], "the pager");
    assert_eq!(
        patch(json!({"description": null})).await["description"],
        Value::Null
    );
    api.upload("third", pictures::flat_archive(2, 3)).await;
    assert_eq!(receiver.next().await.json()["data"]["name"], "third");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_tried_at_once_and_its_secret_is_changed_without_a_gap() {
    let (server, mut receiver) = told().await;
    let api = &server.api;
    let webhook = create(api, &receiver.base, &["job.failed"]).await;
    let tried = try_out(api, &webhook).await;
    assert_eq!(
        (&tried["status"], &tried["event"]),
        (&json!("delivered"), &json!("webhook.test"))
    );
    let message = receiver.next().await;
    assert_eq!(tried["id"], message.header("webhook-id"));
    assert_eq!(message.json(), tried["payload"]);
    assert_eq!(message.header("webhook-signature").split(' ').count(), 1);

    let secret = format!("{}/secret", path_of(&webhook));
    let new = api
        .send(api.request(Method::POST, &secret))
        .await
        .expect(200)
        .json();
    assert_ne!(new["secret"], webhook["secret"]);
    receiver.answer(&[500]);
    let tried = try_out(api, &webhook).await;
    assert_eq!(
        (&tried["status"], &tried["next_attempt_at"]),
        (&json!("failed"), &Value::Null)
    );
    let message = receiver.next().await;
    for secret in [&new["secret"], &webhook["secret"]] {
        assert!(verifies(secret.as_str().unwrap(), &message, &message.body).await);
    }
    assert_eq!(log(api, &webhook).await.len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_webhook_goes_where_the_settings_do_not_allow_it() {
    let server = Server::start().await;
    let request = |url: &str| json!({"url": url, "events": ["job.failed"]});
    let off = server
        .api
        .post("/v1/webhooks", request("https://hooks.example.org/"))
        .await;
    let off = off.problem(409, "webhooks-off");
    assert!(
        off["detail"].as_str().unwrap().contains("--webhook-target"),
        "{off:#}"
    );
    server.stop().await;

    let mut receiver = Receiver::start().await;
    let port = receiver.base.rsplit_once(':').unwrap().1.to_owned();
    let by_name = format!("http://localhost:{port}");
    let server = Server::with(|config| {
        let targets = ["https://hooks.example.org/in/", &receiver.base, &by_name];
        config.webhooks.webhook_targets = targets.map(|target| target.parse().unwrap()).to_vec();
    })
    .await;
    let api = &server.api;
    for outside in [
        "https://hooks.example.com/in/a",
        "https://hooks.example.org/other",
        "https://hooks.example.org/in/../other",
        "https://hooks.example.org:8443/in/",
        "http://hooks.example.org/in/",
        "https://hooks.example.org@elsewhere.example/in/",
        "ftp://hooks.example.org/in/",
        "hooks.example.org/in/",
    ] {
        let refused = api
            .post("/v1/webhooks", request(outside))
            .await
            .problem(422, "invalid");
        assert_eq!(refused["errors"][0]["pointer"], "/url", "{refused:#}");
    }
    let refused = api
        .post("/v1/webhooks", request(&receiver.base))
        .await
        .problem(422, "invalid");
    assert!(
        refused["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("--webhook-allow-private"),
        "{refused:#}"
    );

    // A name that stands for a private address is refused when it is looked up.
    let webhook = create(api, &by_name, &["dataset.ready"]).await;
    let tried = try_out(api, &webhook).await;
    assert_eq!(
        (&tried["status"], &tried["attempts"][0]["status"]),
        (&json!("failed"), &Value::Null)
    );
    let error = tried["attempts"][0]["error"].as_str().unwrap();
    assert!(error.contains("--webhook-allow-private"), "{error}");
    let moved = api
        .request(Method::PATCH, &path_of(&webhook))
        .json(&json!({"url": "https://elsewhere.example/"}));
    api.send(moved).await.problem(422, "invalid");
    assert!(!receiver.has_more());

    // What was allowed when it was made is asked again when it is sent.
    let data = server.stop().await;
    let server = Server::on(data, |config| {
        config.webhooks.webhook_targets = vec!["hooks.example.org".parse().unwrap()];
        config.webhooks.webhook_allow_private = true;
    })
    .await;
    server.api.upload("things", pictures::flat_archive(2, 3)).await;
    let tried = async || !log(&server.api, &webhook).await.last().unwrap()["attempts"][0].is_null();
    wait_until("it is tried", tried).await;
    let log = log(&server.api, &webhook).await;
    let error = log.last().unwrap()["attempts"][0]["error"].as_str().unwrap();
    assert!(error.contains("--webhook-target"), "{error}");
    assert!(!receiver.has_more());
    server.stop().await;
}
