//! Keys: who gets in, who does not and why, and what a key does not reach.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::support::{
    Answer, Api, Server,
    patience::wait_until,
    pictures,
    raw::{ELSEWHERE, HERE, Raw},
};

/// Makes a key; the caller with it.
async fn key(api: &Api, request: Value) -> Api {
    let made = api.post("/v1/keys", request).await.expect(201).json();
    api.with_key(made["secret"].as_str().unwrap())
}

/// A server whose first key may do everything, and that key's holder.
async fn locked() -> (Server, Api) {
    let server = Server::start().await;
    let boss = key(&server.api, json!({"name": "boss", "scopes": ["admin"]})).await;
    (server, boss)
}

/// A well-formed key that no server knows.
fn unknown() -> String {
    finetuned::domain::access::Secret::draw()
        .unwrap()
        .reveal()
        .to_owned()
}

/// A time so many milliseconds from now.
fn soon(milliseconds: i64) -> String {
    let now = finetuned::domain::time::Timestamp::now();
    finetuned::domain::time::Timestamp(now.0 + milliseconds).to_rfc3339()
}

async fn finetuned(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finetuned"));
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    timeout(Duration::from_secs(60), command.output())
        .await
        .expect("it goes on")
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_needed_until_there_is_one_and_from_then_on_always() {
    let server = Server::start().await;
    let api = &server.api;
    api.get("/v1/datasets").await.expect(200);
    // A client that is set up for a server with keys is welcome.
    api.with_key(&unknown()).get("/v1/datasets").await.expect(200);
    let session = api.get("/v1/session").await.expect(200).json();
    assert_eq!(
        (&session["needs_key"], &session["key"]),
        (&json!(false), &json!(null))
    );

    let boss = key(api, json!({"name": "boss", "scopes": ["admin"]})).await;
    api.get("/v1/datasets").await.problem(401, "key-missing");
    boss.get("/v1/datasets").await.expect(200);
    let session = boss.get("/v1/session").await.expect(200).json();
    assert_eq!(session["key"]["name"], "boss");
    // Also when the last one goes, and after the next start.
    boss.delete("/v1/keys/boss").await.expect(204);
    boss.get("/v1/datasets").await.problem(401, "key-revoked");
    api.get("/v1/datasets").await.problem(401, "key-missing");
    let server = Server::on(server.stop().await, |_| {}).await;
    server.api.get("/v1/datasets").await.problem(401, "key-missing");
    for path in [
        "/healthz",
        "/readyz",
        "/",
        "/openapi.yaml",
        "/docs/index.html",
        "/v2/health/ready",
        "/ping",
    ] {
        server.api.get(path).await.expect(200);
    }
    server.stop().await;
}

/// An address of an operation, with something for each of its parts.
fn address(path: &str) -> String {
    let mut address = path
        .replace("{path}", "nothing.css")
        .replace("{file}", "nothing.css");
    for part in [
        "{folder}",
        "{dataset}",
        "{image}",
        "{version}",
        "{job}",
        "{model}",
        "{other}",
        "{alias}",
        "{upload}",
        "{key}",
        "{webhook}",
    ] {
        address = address.replace(part, "7");
    }
    assert!(!address.contains('{'), "{path}: what stands there?");
    address
}

/// Whether there was a handler: what serves and what describes is made apart.
fn is_served(answer: &Answer) -> bool {
    answer.status != 405 && !answer.text.contains("there is nothing at this path")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_needs_what_it_says_and_is_closed_to_everybody_else() {
    let (server, boss) = locked().await;
    let mut with_scope = Vec::new();
    for scope in ["read", "predict", "write"] {
        let holder = key(&boss, json!({"name": scope, "scopes": [scope]})).await;
        with_scope.push((scope, holder));
    }
    let holder = |scope: &str| &with_scope.iter().find(|(one, _)| *one == scope).unwrap().1;
    let description = serde_json::to_value(finetuned::http::openapi()).unwrap();
    let mut seen = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let address = address(path);
            let send = async |caller: &Api| caller.send(caller.request(method.clone(), &address)).await;
            let anybody = send(&server.api).await;
            let needed: Vec<&str> = operation["security"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|one| one["key"][0].as_str())
                .collect();
            let shown = format!("{method} {path} needs {needed:?}");
            if needed.is_empty() {
                assert!(![401, 403].contains(&anybody.status), "{shown}: {}", anybody.text);
                assert!(is_served(&anybody), "{shown}: {}", anybody.text);
                continue;
            }
            assert_eq!(anybody.status, 401, "{shown}: {}", anybody.text);
            assert_eq!(anybody.headers["www-authenticate"], "Bearer realm=\"finetuned\"");
            let without = match needed.as_slice() {
                ["read"] => Some("predict"),
                ["predict"] | ["write"] => Some("read"),
                ["admin"] => Some("write"),
                // Every key has one of these.
                _ => None,
            };
            if let Some(without) = without {
                let refused = send(holder(without)).await;
                assert_eq!(refused.status, 403, "{shown}: {}", refused.text);
                let challenge = refused.headers["www-authenticate"].to_str().unwrap();
                let expected = format!("error=\"insufficient_scope\", scope=\"{}\"", needed[0]);
                assert!(challenge.ends_with(&expected), "{shown}: {challenge}");
                if method != Method::HEAD {
                    let problem = refused.problem(403, "scope-missing");
                    assert!(
                        problem["detail"]
                            .as_str()
                            .unwrap()
                            .contains(&format!("`{}`", needed[0]))
                    );
                }
            }
            if let Some(enough) = needed.iter().find(|scope| **scope != "admin") {
                let admitted = send(holder(enough)).await;
                assert!(
                    ![401, 403].contains(&admitted.status),
                    "{shown}: {}",
                    admitted.text
                );
            }
            let admitted = send(&boss).await;
            assert!(
                ![401, 403].contains(&admitted.status),
                "{shown}: {}",
                admitted.text
            );
            assert!(is_served(&admitted), "{shown}: {}", admitted.text);
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} operations need a key");
    // What is no operation is no way around.
    server.api.get("/nowhere").await.problem(401, "key-missing");
    boss.get("/nowhere").await.problem(404, "not-found");
    server.api.delete("/v1/system").await.problem(401, "key-missing");
    let other = boss.delete("/v1/system").await;
    other.problem(405, "method-not-allowed");
    assert_eq!(other.headers["allow"], "GET,HEAD");
    server.api.get("/v1/datasets/").await.problem(401, "key-missing");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_why_and_never_repeated() {
    let (server, boss) = locked().await;
    let api = &server.api;
    let expiring = key(
        &boss,
        json!({"name": "short", "scopes": ["read"], "expires_at": soon(1500)}),
    )
    .await;
    let revoked = key(&boss, json!({"name": "gone", "scopes": ["read"]})).await;
    for caller in [&expiring, &revoked] {
        caller.get("/v1/jobs").await.expect(200);
    }
    boss.delete("/v1/keys/gone").await.expect(204);
    revoked.get("/v1/jobs").await.problem(401, "key-revoked");
    wait_until("the key expires", async || {
        expiring.get("/v1/jobs").await.status == 401
    })
    .await;
    expiring.get("/v1/jobs").await.problem(401, "key-expired");

    let unknown = unknown();
    let mut mistyped = unknown.clone().into_bytes();
    mistyped.swap(10, 11);
    mistyped[12] = if mistyped[12] == b'0' { b'1' } else { b'0' };
    for (sent, slug) in [
        (unknown.clone(), "key-unknown"),
        (String::from_utf8(mistyped).unwrap(), "key-malformed"),
        (unknown[..50].to_owned(), "key-malformed"),
        ("password".to_owned(), "key-malformed"),
    ] {
        for path in [
            "/v1/jobs",
            "/v2/models/thing",
            "/predictions/thing",
            "/v1/models/thing:predict",
        ] {
            let method = if path.starts_with("/v1/models") || path.starts_with("/pred") {
                Method::POST
            } else {
                Method::GET
            };
            let answer = api.send(api.with_key(&sent).request(method, path)).await;
            answer.problem(401, slug);
            let challenge = answer.headers["www-authenticate"].to_str().unwrap();
            assert_eq!(challenge, "Bearer realm=\"finetuned\", error=\"invalid_token\"");
            assert!(!answer.text.contains(&sent), "{}", answer.text);
        }
    }
    // Another scheme is a proxy's, and no key.
    let basic = api
        .request(Method::GET, "/v1/jobs")
        .header("authorization", "Basic YTpi");
    api.send(basic).await.problem(401, "key-missing");
    // The protocol's own member for errors is there, too.
    let problem = api.get("/v2/models/thing").await.problem(401, "key-missing");
    assert_eq!(problem["error"], problem["detail"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_and_revoked_over_http() {
    let (server, boss) = locked().await;
    let request =
        json!({"name": "camera", "scopes": ["predict"], "models": ["insects"], "expires_at": soon(60_000)});
    let answer = boss.post("/v1/keys", request.clone()).await.expect(201);
    let made = answer.json();
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(location, format!("/v1/keys/{}", made["id"].as_str().unwrap()));
    boss.post("/v1/keys", request).await.problem(409, "name-taken");
    let shown = boss.get("/v1/keys/camera").await.expect(200);
    assert_eq!(shown.json()["models"], json!(["insects"]));
    assert!(shown.json()["last_used_at"].is_null());
    boss.with_key(made["secret"].as_str().unwrap())
        .get("/v2")
        .await
        .expect(200);
    let used = boss.get(&location).await.expect(200).json();
    assert!(used["last_used_at"].is_string(), "{used:#}");
    let list = boss.get("/v1/keys?limit=1").await.expect(200);
    assert_eq!(
        (&list.json()["data"][0], &list.json()["has_more"]),
        (&used, &json!(true))
    );
    for answer in [&shown, &list] {
        assert!(!answer.text.contains("ft_"), "{}", answer.text);
    }
    boss.delete("/v1/keys/camera").await.expect(204);
    let revoked = boss.get(&location).await.expect(200).json();
    assert!(revoked["revoked_at"].is_string());
    boss.get("/v1/keys/nobody").await.problem(404, "not-found");
    let wrong = json!({"name": "a/b", "scopes": ["root"], "secret": "mine"});
    let problem = boss.post("/v1/keys", wrong).await.problem(422, "invalid");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_key_reaches_what_it_names_and_nothing_else() {
    let (server, boss) = locked().await;
    for name in ["ours", "theirs"] {
        boss.upload(name, pictures::flat_archive(2, 3)).await;
    }
    let id = async |name: &str| {
        let dataset = boss.get(&format!("/v1/datasets/{name}")).await.expect(200).json();
        dataset["id"].as_str().unwrap().to_owned()
    };
    let (ours, theirs) = (id("ours").await, id("theirs").await);
    let request =
        json!({"name": "team", "scopes": ["write"], "datasets": ["ours", "new"], "models": ["model"]});
    let team = key(&boss, request).await;
    for reference in ["ours", "ours@1", &ours] {
        team.get(&format!("/v1/datasets/{reference}")).await.expect(200);
        team.get(&format!("/v1/datasets/{reference}/images"))
            .await
            .expect(200);
    }
    // What is there and what is not are answered alike.
    for reference in ["theirs", "theirs@1", &theirs, "nothing", "ours@x"] {
        let refused = team.get(&format!("/v1/datasets/{reference}")).await;
        refused.problem(403, "key-limited");
        team.delete(&format!("/v1/datasets/{reference}"))
            .await
            .problem(403, "key-limited");
    }
    for list in ["datasets", "jobs", "models", "aliases", "uploads"] {
        team.get(&format!("/v1/{list}")).await.problem(403, "key-limited");
    }
    let archive = || pictures::flat_archive(2, 4);
    for target in ["?name=other", "?filename=new.zip", "/other", "/new.zip"] {
        let refused = team.put(&format!("/v1/datasets{target}"), archive()).await;
        refused.problem(403, "key-limited");
    }
    team.put("/v1/datasets?name=new", archive()).await.expect(201);
    // Jobs: on its datasets, for its models.
    let spec = |dataset: &str, name: Value| json!({"dataset": dataset, "name": name, "device": "cuda:9", "backbone": {"weights": "none"}});
    for wrong in [
        spec("theirs", json!("model")),
        spec(&theirs, json!("model")),
        spec("nothing", json!("model")),
        spec("ours", json!("other")),
        spec("ours", json!(null)),
        json!({"dataset": "ours", "name": "model", "backbone": {"weights": "someone-elses"}}),
        json!({"kind": "evaluate", "dataset": "ours", "model": "someone-elses"}),
    ] {
        team.post("/v1/jobs", wrong).await.problem(403, "key-limited");
    }
    let own = team.submit(spec("ours", json!("model"))).await;
    let foreign = boss.submit(spec("theirs", json!("other"))).await;
    let path = |job: &Value, rest: &str| format!("/v1/jobs/{}{rest}", job["id"].as_str().unwrap());
    team.get(&path(&own, "")).await.expect(200);
    team.get("/v1/jobs/model/logs").await.expect(200);
    for rest in ["", "/logs", "/events", "/metrics"] {
        team.get(&path(&foreign, rest)).await.problem(403, "key-limited");
    }
    let cancel = team.request(Method::POST, &path(&foreign, "/cancel"));
    team.send(cancel).await.problem(403, "key-limited");
    // A repeat under somebody else's key tells nothing either.
    let repeated = async |caller: &Api| {
        let request = caller
            .request(Method::POST, "/v1/jobs")
            .header("idempotency-key", "k");
        caller.send(request.json(&spec("theirs", json!("third")))).await
    };
    repeated(&boss).await.expect(201);
    repeated(&team).await.problem(403, "key-limited");
    // Models by their name or by an alias.
    for (model, status) in [("model", 404), ("model@3", 403), ("other", 403)] {
        let refused = team.get(&format!("/v1/models/{model}")).await;
        assert_eq!(refused.status, status, "{model}: {}", refused.text);
        let predicted = team
            .post(&format!("/v1/models/{model}:predict"), json!({"instances": []}))
            .await;
        assert_eq!(predicted.status, status, "{model}: {}", predicted.text);
    }
    let alias = team
        .request(Method::PUT, "/v1/aliases/model")
        .json(&json!({"model": "other"}));
    team.send(alias).await.problem(403, "key-limited");
    team.get("/v1/system").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_makes_and_revokes_keys_while_the_server_runs() {
    let server = Server::start().await;
    let data = server.data_dir();
    let data = data.to_str().unwrap();
    let keys = async |arguments: &[&str]| {
        finetuned(&[&["keys"][..], arguments, &["--data-dir", data]].concat(), &[]).await
    };
    let made = keys(&["create", "boss", "--scope", "admin"]).await;
    assert!(made.status.success(), "{made:?}");
    let boss = server.api.with_key(text(&made.stdout).trim());
    wait_until("the server knows the key", async || {
        server.api.get("/v1/jobs").await.status == 401
    })
    .await;
    boss.get("/v1/jobs").await.expect(200);
    let made = keys(&[
        "create", "camera", "--scope", "predict", "--model", "insects", "--days", "30",
    ])
    .await;
    let secret = text(&made.stdout).trim().to_owned();
    let camera = server.api.with_key(&secret);
    let began = Instant::now();
    wait_until("the server knows the key", async || {
        camera.get("/v2").await.status == 200
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let listed = keys(&["list", "--json"]).await;
    let listed = text(&listed.stdout);
    let newest: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&newest["name"], &newest["scopes"]),
        (&json!("camera"), &json!(["predict"]))
    );
    assert!(listed.lines().count() == 2 && !listed.contains("ft_"), "{listed}");
    let table = text(&keys(&["list"]).await.stdout);
    assert!(
        table.contains("camera") && table.contains("only models: insects"),
        "{table}"
    );
    let again = keys(&["create", "camera", "--scope", "read"]).await;
    assert!(
        !again.status.success() && text(&again.stderr).contains("there is a key `camera`"),
        "{again:?}"
    );
    assert!(keys(&["revoke", "camera"]).await.status.success());
    wait_until("the server knows that it was revoked", async || {
        camera.get("/v2").await.status == 401
    })
    .await;
    camera.get("/v2").await.problem(401, "key-revoked");
    let nobody = keys(&["revoke", &secret]).await;
    assert!(
        !nobody.status.success() && !text(&nobody.stderr).contains(&secret),
        "{nobody:?}"
    );
    // And where none runs.
    let data = server.stop().await;
    let path = data.path().to_str().unwrap();
    let made = finetuned(
        &["keys", "create", "late", "--scope", "read", "--data-dir", path],
        &[],
    )
    .await;
    assert!(made.status.success(), "{made:?}");
    let server = Server::on(data, |_| {}).await;
    server
        .api
        .with_key(text(&made.stdout).trim())
        .get("/v1/jobs")
        .await
        .expect(200);
    let nowhere = finetuned(&["keys", "list", "--data-dir", "/nowhere/data"], &[]).await;
    assert!(
        text(&nowhere.stderr).contains("there is no data directory"),
        "{nowhere:?}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_send_the_key_of_their_environment_or_of_a_file() {
    let (server, boss) = locked().await;
    boss.upload("things", pictures::flat_archive(2, 3)).await;
    let made = boss
        .post("/v1/keys", json!({"name": "ci", "scopes": ["write"]}))
        .await
        .expect(201)
        .json();
    let secret = made["secret"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, format!("{secret}\n")).unwrap();
    let submit = [
        "submit",
        "--dataset",
        "things",
        "--set",
        "device=cuda:9",
        "--set",
        "backbone.weights=none",
    ];
    let base = ("FINETUNED_SERVER", server.api.base.as_str());
    let refused = finetuned(&submit, &[base]).await;
    let errors = text(&refused.stderr);
    assert!(
        refused.status.code() == Some(1) && errors.contains("FINETUNED_KEY"),
        "{errors}"
    );
    let wrong = finetuned(&submit, &[base, ("FINETUNED_KEY", "ft_123")]).await;
    let errors = text(&wrong.stderr);
    assert!(
        wrong.status.code() == Some(2) && !errors.contains("ft_123"),
        "{errors}"
    );
    let by_variable = finetuned(&submit, &[base, ("FINETUNED_KEY", secret)]).await;
    assert!(by_variable.status.success(), "{by_variable:?}");
    let by_file = finetuned(
        &[&submit[..], &["--key-file", file.to_str().unwrap()]].concat(),
        &[base],
    )
    .await;
    assert!(by_file.status.success(), "{by_file:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tries_slow_their_own_address_down_and_nobody_elses() {
    const TRIES: usize = 3000;
    let (server, boss) = locked().await;
    let api = &server.api;
    let made = boss
        .post("/v1/keys", json!({"name": "here", "scopes": ["read"]}))
        .await
        .expect(201)
        .json();
    let right = made["secret"].as_str().unwrap().to_owned();
    let ask = async |connection: &mut Raw, key: &str| {
        let request =
            format!("GET /v1/system HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n");
        connection.send(request).await;
        connection.answer().await
    };
    // Who was in before the tries began stays in, whatever others at its address do.
    let mut known = Raw::from(api, ELSEWHERE).await;
    assert_eq!(ask(&mut known, &right).await.status, 200);
    let attack = async {
        let mut connection = Raw::from(api, ELSEWHERE).await;
        let (mut looked_at, mut put_off, begun) = (0, 0, Instant::now());
        for _ in 0..TRIES {
            let answer = ask(&mut connection, &unknown()).await;
            match answer.status {
                401 => looked_at += 1,
                429 => put_off += 1,
                other => panic!("{other}"),
            }
        }
        let most = 21 + begun.elapsed().as_secs() as usize;
        assert!(
            looked_at <= most,
            "{looked_at} were looked at, and {most} at most should be"
        );
        assert!(put_off >= TRIES - most);
        // A thousand refusals a second, whatever the pace of the tries.
        assert!(begun.elapsed().as_millis() as usize + 1 >= put_off);
        let answer = ask(&mut connection, &unknown()).await;
        answer.problem(429, "too-many-tries");
        assert!(answer.says("retry-after: 1"), "{}", answer.head);
        assert_eq!(ask(&mut known, &right).await.status, 200);
    };
    let others = async {
        let mut connection = Raw::from(api, HERE).await;
        for _ in 0..500 {
            assert_eq!(ask(&mut connection, &right).await.status, 200);
        }
    };
    tokio::join!(attack, others);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_in_the_log_or_in_a_workers_environment() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log, seen) = (
        folder.path().join("data"),
        folder.path().join("log"),
        folder.path().join("seen"),
    );
    let worker = folder.path().join("worker");
    let script = format!(
        "#!/bin/sh\n{{ env; cat /proc/$PPID/cmdline | tr '\\0' ' '; }} >> '{}'\nexec '{}' \"$@\"\n",
        seen.display(),
        env!("CARGO_BIN_EXE_finetuned-worker")
    );
    write_script(&worker, &script).await;
    let own = unknown();
    let mut child = Command::new(env!("CARGO_BIN_EXE_finetuned"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--offline",
            "--min-free-bytes",
            "0",
            "--data-dir",
        ])
        .arg(&data)
        .envs([("FINETUNED_KEY", own.as_str()), ("FINETUNED_LOG", "trace")])
        .env("FINETUNED_WORKER", &worker)
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line)
        .await
        .unwrap();
    let api = Api::new(line.trim().strip_prefix("listening on ").unwrap());
    let mut secrets = vec![own];
    let made = api
        .post("/v1/keys", json!({"name": "boss", "scopes": ["admin"]}))
        .await
        .expect(201)
        .json();
    secrets.push(made["secret"].as_str().unwrap().to_owned());
    let boss = api.with_key(&secrets[1]);
    boss.upload("things", pictures::flat_archive(2, 3)).await;
    // Known, unknown, and cut short; and a session.
    secrets.push(unknown());
    api.with_key(&secrets[2])
        .get("/v1/jobs")
        .await
        .problem(401, "key-unknown");
    api.with_key(&secrets[2][..60])
        .get("/v1/jobs")
        .await
        .problem(401, "key-malformed");
    // Where a name belongs.
    for path in ["keys", "datasets", "models"] {
        let answer = boss.get(&format!("/v1/{path}/{}", secrets[1])).await;
        answer.problem(404, "not-found");
        assert!(!answer.text.contains(&secrets[1]), "{}", answer.text);
    }
    let login = api
        .post("/v1/session", json!({"key": secrets[1]}))
        .await
        .expect(200);
    let cookie = login.headers["set-cookie"].to_str().unwrap();
    let session = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
    let name = cookie.split('=').next().unwrap().to_owned();
    let asked = api
        .request(Method::GET, "/v1/jobs")
        .header("cookie", format!("{name}={session}"));
    api.send(asked).await.expect(200);
    api.post("/v1/session", json!({"key": secrets[2]}))
        .await
        .problem(401, "key-unknown");
    boss.delete("/v1/keys/boss").await.expect(204);
    boss.get("/v1/jobs").await.problem(401, "key-revoked");
    child.kill().await.unwrap();

    let (log, seen) = (
        fs::read_to_string(log).unwrap(),
        fs::read_to_string(seen).unwrap(),
    );
    assert!(log.contains("key-unknown") && log.lines().count() > 20, "{log}");
    assert!(seen.contains("PATH=") && seen.contains("serve"), "{seen}");
    secrets.push(session);
    for secret in &secrets {
        // Nor a part of it.
        let part = &secret[secret.len() - 60..secret.len() - 40];
        assert!(!log.contains(part), "the log has a key");
        assert!(!seen.contains(part), "a worker has a key");
    }
    assert!(!seen.contains("FINETUNED_"), "{seen}");
}

/// Another process writes it: while one of ours held it open, a child that another test starts in this moment would hold it too.
async fn write_script(path: &Path, script: &str) {
    let made = Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 700 \"$0\""])
        .arg(path)
        .arg(script)
        .status()
        .await
        .unwrap();
    assert!(made.success());
}
