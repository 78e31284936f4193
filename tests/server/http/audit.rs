//! The audit log: who changed what, when and from where, also when they were not let.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Api, Server,
    patience::wait_until,
    pictures,
    program::Program,
    raw::{ELSEWHERE, Raw},
};

async fn key(by: &Api, request: Value) -> (Api, Value) {
    let made = by.post("/v1/keys", request).await.expect(201).json();
    (by.with_key(made["secret"].as_str().unwrap()), made)
}

/// Records that fit, oldest first.
async fn audit(boss: &Api, filter: &str) -> Vec<Value> {
    let list = boss
        .get(&format!("/v1/audit?order=asc&limit=100{filter}"))
        .await
        .expect(200)
        .json();
    list["data"].as_array().unwrap().clone()
}

/// Method, route, thing and status of each.
fn told(records: &[Value]) -> Vec<(String, String, Value, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |record: &Value| {
        (
            text(&record["method"]),
            text(&record["route"]),
            record["thing"].clone(),
            record["status"].clone(),
        )
    };
    records.iter().map(of).collect()
}

fn line(method: &str, route: &str, thing: impl Into<Value>, status: u16) -> (String, String, Value, Value) {
    (method.to_owned(), route.to_owned(), thing.into(), json!(status))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_says_who_made_it_what_it_changed_and_from_where() {
    let server = Server::start().await;
    let (boss, boss_key) = key(&server.api, json!({"name": "boss", "scopes": ["admin"]})).await;
    let (team, team_key) = key(&boss, json!({"name": "team", "scopes": ["write"]})).await;
    let (reader, _) = key(&boss, json!({"name": "reader", "scopes": ["read"]})).await;
    let dataset = team.upload("things", pictures::flat_archive(2, 3)).await;
    let spec =
        json!({"dataset": "things", "name": "net", "device": "cuda:9", "backbone": {"weights": "none"}});
    let submit = team
        .request(Method::POST, "/v1/jobs")
        .header("x-request-id", "my-request");
    let job = team.send(submit.json(&spec)).await.expect(201).json();
    // By its name, which is another one's later.
    team.send(team.request(Method::POST, "/v1/jobs/net/cancel"))
        .await
        .expect(200);
    // What only looks is not in it.
    team.get("/v1/jobs/net").await.expect(200);
    team.put("/v1/models/none/predict", pictures::png(0, 1, 40))
        .await
        .problem(404, "not-found");
    // What was not let, and what has failed.
    reader
        .delete("/v1/datasets/things")
        .await
        .problem(403, "scope-missing");
    server
        .api
        .delete("/v1/datasets/things")
        .await
        .problem(401, "key-missing");
    team.delete("/v1/datasets/nothing")
        .await
        .problem(404, "not-found");
    team.post("/v1/jobs", json!({"dataset": 7}))
        .await
        .problem(422, "invalid");
    team.delete("/v1/datasets/things").await.expect(204);
    boss.delete("/v1/keys/reader").await.expect(204);

    let records = audit(&boss, "&key=team").await;
    let (dataset, job) = (&dataset["id"], &job["id"]);
    assert_eq!(
        told(&records),
        [
            line("PUT", "/v1/datasets", dataset.clone(), 201),
            line("POST", "/v1/jobs", job.clone(), 201),
            line("POST", "/v1/jobs/{job}/cancel", job.clone(), 200),
            line("DELETE", "/v1/datasets/{dataset}", "nothing", 404),
            line("POST", "/v1/jobs", Value::Null, 422),
            line("DELETE", "/v1/datasets/{dataset}", dataset.clone(), 204),
        ]
    );
    for record in &records {
        assert_eq!(record["key"], json!({"id": team_key["id"], "name": "team"}));
        assert_eq!(
            (&record["address"], &record["skipped"]),
            (&json!("127.0.0.1"), &json!(0))
        );
    }
    assert_eq!(records[1]["request_id"], "my-request");
    // Nothing is looked for on behalf of who is not let in.
    assert_eq!(
        told(&audit(&boss, "&key=reader").await),
        [line("DELETE", "/v1/datasets/{dataset}", "things", 403)]
    );
    // Without a key: the first one was made by nobody.
    let id = boss_key["id"].clone();
    assert_eq!(
        told(&audit(&boss, "&key=none").await),
        [
            line("POST", "/v1/keys", id.clone(), 201),
            line("DELETE", "/v1/datasets/{dataset}", "things", 401),
        ]
    );
    let by_boss = told(&audit(&boss, &format!("&key={}", id.as_str().unwrap())).await);
    assert_eq!(by_boss.len(), 3, "{by_boss:#?}");
    // Of one thing, and of a time.
    let filter = format!("&thing={}", dataset.as_str().unwrap());
    assert_eq!(audit(&boss, &filter).await.len(), 2);
    let at = records[1]["at"].as_str().unwrap();
    let since = audit(&boss, &format!("&key=team&since={at}")).await;
    assert_eq!(since, records[1..]);
    let until = audit(&boss, &format!("&key=team&until={at}")).await;
    assert_eq!(until, records[..1]);
    // In pages, newest first, for those alone who may see it.
    let first = boss.get("/v1/audit?limit=1").await.expect(200).json();
    let newest = &first["data"][0];
    assert_eq!(
        (&newest["route"], &first["has_more"]),
        (&json!("/v1/keys/{key}"), &json!(true))
    );
    let after = format!("/v1/audit?limit=1&after={}", newest["id"].as_str().unwrap());
    let second = boss.get(&after).await.expect(200).json();
    assert_eq!(second["data"][0]["id"], records[5]["id"]);
    team.get("/v1/audit").await.problem(403, "scope-missing");
    boss.get("/v1/audit?since=yesterday")
        .await
        .problem(400, "query-invalid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_keys_is_counted_and_hides_nobody() {
    let server = Server::start().await;
    let (boss, _) = key(&server.api, json!({"name": "boss", "scopes": ["admin"]})).await;
    let wrong = finetuned::domain::access::Secret::draw().unwrap();
    let mut attack = Raw::from(&server.api, ELSEWHERE).await;
    for _ in 0..500 {
        let request = format!(
            "DELETE /v1/datasets/{} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
            wrong.reveal(),
            wrong.reveal()
        );
        attack.send(request).await;
        assert!([401, 429].contains(&attack.answer().await.status));
    }
    boss.delete("/v1/datasets/mine").await.problem(404, "not-found");
    let records = audit(&boss, "&key=none").await;
    let refused: Vec<&Value> = records
        .iter()
        .filter(|record| record["address"] == ELSEWHERE)
        .collect();
    // And one a second.
    assert!((20..100).contains(&refused.len()), "{}", refused.len());
    assert_eq!(refused[0]["thing"], "ft_…");
    let own = &audit(&boss, "&key=boss").await[0];
    assert_eq!(own["thing"], "mine");
    let skipped: u64 = records
        .iter()
        .chain([own])
        .map(|record| record["skipped"].as_u64().unwrap())
        .sum();
    assert_eq!(skipped + refused.len() as u64, 500);
    let metrics = boss.get("/metrics").await.expect(200).text;
    let counted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("finetuned_audit_skipped_total "))
        .unwrap();
    assert_eq!(counted.parse::<u64>().unwrap(), skipped);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_and_what_commands_do_are_in_it_and_no_secret_is() {
    let server = Server::start().await;
    let (boss, made) = key(&server.api, json!({"name": "boss", "scopes": ["admin"]})).await;
    let secret = made["secret"].as_str().unwrap();
    let login = server
        .api
        .post("/v1/session", json!({"key": secret}))
        .await
        .expect(200);
    let wrong = finetuned::domain::access::Secret::draw().unwrap();
    let refused = server
        .api
        .post("/v1/session", json!({"key": wrong.reveal()}))
        .await;
    refused.problem(401, "key-unknown");
    boss.delete(&format!("/v1/keys/{}", wrong.reveal()))
        .await
        .problem(404, "not-found");
    let data = server.data_dir();
    for arguments in [&["create", "ci", "--scope", "read"][..], &["revoke", "ci"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_finetuned"));
        let done = command
            .arg("keys")
            .args(arguments)
            .arg("--data-dir")
            .arg(&data)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let list = boss.get("/v1/audit?limit=100&order=asc").await.expect(200);
    let records = list.json()["data"].as_array().unwrap().clone();
    let id = boss.get("/v1/keys/ci").await.expect(200).json()["id"].clone();
    let command = |command: &str| ("COMMAND".to_owned(), command.to_owned(), id.clone(), Value::Null);
    assert_eq!(
        told(&records[1..]),
        [
            line("POST", "/v1/session", Value::Null, 200),
            line("POST", "/v1/session", Value::Null, 401),
            line("DELETE", "/v1/keys/{key}", "ft_…", 404),
            command("keys create"),
            command("keys revoke"),
        ]
    );
    assert_eq!(
        (&records[1]["key"]["name"], &records[2]["key"]),
        (&json!("boss"), &Value::Null)
    );
    assert_eq!(
        (&records[4]["address"], &records[4]["key"]),
        (&Value::Null, &Value::Null)
    );
    let cookie = login.headers["set-cookie"].to_str().unwrap();
    let session = cookie.split(['=', ';']).nth(1).unwrap();
    for secret in [secret, wrong.reveal(), session] {
        let part = &secret[secret.len() - 60..secret.len() - 40];
        assert!(!list.text.contains(part), "{}", list.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_records_make_room_and_a_server_without_keys_has_the_log_as_well() {
    let server = Server::with(|config| config.limits.max_audit_records = 5).await;
    for number in 0..8 {
        server
            .api
            .delete(&format!("/v1/datasets/none-{number}"))
            .await
            .problem(404, "not-found");
    }
    assert_eq!(audit(&server.api, "").await.len(), 8);
    // It is looked for at each start, and every minute.
    let server = Server::on(server.stop().await, |config| config.limits.max_audit_records = 5).await;
    wait_until("the oldest records are gone", async || {
        audit(&server.api, "").await.len() == 5
    })
    .await;
    let left = audit(&server.api, "").await;
    assert_eq!(
        (&left[0]["thing"], &left[4]["thing"]),
        (&json!("none-3"), &json!("none-7"))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_has_a_line_for_each_record_and_may_be_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (
        folder.path().join("audit.jsonl"),
        folder.path().join("audit.jsonl.1"),
    );
    let program = Program::with_variable("FINETUNED_AUDIT_LOG", &path, &folder.path().join("data"));
    let api = &program.api;
    let delete = async |name: &str| {
        api.delete(&format!("/v1/datasets/{name}"))
            .await
            .problem(404, "not-found");
        // What is listed is written.
        let list = api.get("/v1/audit?limit=1").await.expect(200).json();
        list["data"][0].clone()
    };
    let first = delete("one").await;
    assert_eq!(lines(&path), std::slice::from_ref(&first));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::rename(&path, &old).unwrap();
    let second = delete("two").await;
    assert_eq!((lines(&old), lines(&path)), (vec![first.clone()], vec![second]));
    // With a signal, which does not end it.
    fs::rename(&path, &old).unwrap();
    let process = rustix::process::Pid::from_raw(program.id() as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
    wait_until("the file is there again", async || path.is_file()).await;
    let third = delete("three").await;
    assert_eq!(lines(&path), [third]);
    // What a command does beside it, and once.
    let made = Command::new(env!("CARGO_BIN_EXE_finetuned"))
        .args(["keys", "create", "boss", "--scope", "admin", "--data-dir"])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    wait_until("the command is in the file", async || lines(&path).len() == 2).await;
    assert_eq!(lines(&path)[1]["route"], "keys create");
    let boss = api.with_key(String::from_utf8(made.stdout).unwrap().trim());
    wait_until("the key is known", async || {
        boss.get("/v1/jobs").await.status == 200
    })
    .await;
    boss.delete("/v1/keys/boss").await.expect(204);
    wait_until("the last change is in the file", async || lines(&path).len() == 3).await;
}
