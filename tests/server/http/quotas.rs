//! Quotas: what a key may take up, how it is told, and that nobody else notices.

use std::{fs, io, process::Command};

use futures_util::{future::join_all, stream};
use reqwest::{Body, Method};
use serde_json::{Value, json};

use crate::support::{Api, Server, api::Answer, patience::wait_until, pictures};

/// A server with keys: one that may do everything, and one that may write, within these quotas.
async fn with_quotas(quotas: Value) -> (Server, Api, Api) {
    let server = Server::start().await;
    let key = async |by: &Api, request: Value| {
        let made = by.post("/v1/keys", request).await.expect(201).json();
        by.with_key(made["secret"].as_str().unwrap())
    };
    let boss = key(&server.api, json!({"name": "boss", "scopes": ["admin"]})).await;
    let request = json!({"name": "team", "scopes": ["write"], "quotas": quotas});
    let team = key(&boss, request).await;
    (server, boss, team)
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_the_quota_is_refused_by_its_length_and_cut_without_one() {
    let archive = pictures::flat_archive(2, 3);
    let most = archive.len() as u64 + 20_000;
    let (server, boss, team) = with_quotas(json!({"max_bytes": most})).await;
    let shown = boss.get("/v1/keys/team").await.expect(200).json();
    assert_eq!(
        shown["quotas"],
        json!({"max_bytes": most, "max_queued_jobs": null, "max_running_jobs": null, "max_requests_per_second": null})
    );
    team.upload("first", archive.clone()).await;
    // The length says enough: none of the body is waited for.
    let refused = team.put("/v1/datasets?name=second", vec![0; 50_000]).await;
    let problem = refused.problem(429, "quota-bytes");
    let detail = problem["detail"].as_str().unwrap();
    let used = archive.len();
    assert!(
        detail.contains(&format!("`team` owns {used} bytes and may own {most}"))
            && detail.contains("50000 more")
            && detail.contains("?owner=team"),
        "{detail}"
    );
    assert_eq!(header(&refused, "retry-after"), "60");
    // Without a length it goes on until there is no room.
    let mut chunks = vec![archive.clone()];
    chunks.extend(vec![vec![0; 64 << 10]; 32]);
    let body = Body::wrap_stream(stream::iter(chunks.into_iter().map(io::Result::Ok)));
    let put = team.request(Method::PUT, "/v1/datasets?name=second").body(body);
    team.send(put).await.problem(429, "quota-bytes");
    let spool = server.data_dir().join("spool");
    assert_eq!(fs::read_dir(spool).unwrap().count(), 0);
    let begin = |bytes: u64| {
        team.request(Method::POST, "/v1/uploads")
            .header("tus-resumable", "1.0.0")
            .header("upload-length", bytes)
            .header("upload-metadata", "name c2Vjb25k")
    };
    team.send(begin(20_001)).await.problem(429, "quota-bytes");
    let begun = team.send(begin(19_900)).await.expect(201);
    // Images, too, and a model: a hundred bytes are left.
    let image = pictures::png(0, 9, 40);
    assert!((101..20_000).contains(&image.len()));
    let add = async |by: &Api| {
        let post = by.request(Method::POST, "/v1/datasets/first/images?class=class-0");
        by.send(post.body(image.clone())).await
    };
    add(&team).await.problem(429, "quota-bytes");
    // It is the owner of the dataset who would have them.
    add(&boss).await.problem(429, "quota-bytes");
    team.put("/v1/models?name=net", vec![0; 200])
        .await
        .problem(429, "quota-bytes");
    // Nobody else is concerned, and what is only looked at is not kept.
    boss.upload("theirs", pictures::flat_archive(2, 4)).await;
    team.put(
        "/v1/datasets?name=look&dry_run=true",
        pictures::flat_archive(2, 5),
    )
    .await
    .expect(200);
    // Room that is made is room again.
    team.delete(header(&begun, "location")).await.expect(204);
    add(&team).await.expect(201);
    team.delete("/v1/datasets/first").await.expect(204);
    team.upload("second", pictures::flat_archive(2, 3)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_the_quota_are_refused_and_every_answer_says_what_is_left() {
    let (server, boss, team) = with_quotas(json!({"max_requests_per_second": 2})).await;
    let answers = join_all((0..12).map(|_| team.get("/v1/system"))).await;
    let mut refused = 0;
    for answer in &answers {
        assert_eq!(header(answer, "ratelimit-policy"), "\"requests\";q=2;w=1");
        let left = header(answer, "ratelimit");
        if answer.status == 200 {
            assert!(
                ["\"requests\";r=1;t=1", "\"requests\";r=0;t=1"].contains(&left),
                "{left}"
            );
            continue;
        }
        let problem = answer.problem(429, "quota-requests");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("2 requests a second")
        );
        assert_eq!(
            (left, header(answer, "retry-after")),
            ("\"requests\";r=0;t=1", "1")
        );
        refused += 1;
    }
    assert!((1..=10).contains(&refused), "{refused} were refused");
    // It is one key's alone, and one without a quota is told nothing.
    let others = join_all((0..12).map(|_| boss.get("/v1/system"))).await;
    for answer in &others {
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key("ratelimit"));
    }
    // Problems say it as well, and what needs no key costs nothing.
    wait_until("the key may ask again", async || {
        let answer = team.get("/v1/datasets/nothing").await;
        answer.status == 404 && answer.headers.contains_key("ratelimit-policy")
    })
    .await;
    for _ in 0..5 {
        team.get("/healthz").await.expect(200);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_over_the_quota_of_the_queue_are_refused_and_say_what_to_do() {
    let (server, boss, team) = with_quotas(json!({"max_queued_jobs": 2})).await;
    boss.upload("things", pictures::flat_archive(2, 3)).await;
    // Nothing runs on a device that is not there.
    let spec = json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}});
    for _ in 0..2 {
        team.submit(spec.clone()).await;
    }
    let refused = team.post("/v1/jobs", spec.clone()).await;
    let problem = refused.problem(429, "quota-queued-jobs");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("`team` has 2 jobs in the queue and may have 2") && detail.contains("?owner=team"),
        "{detail}"
    );
    assert_eq!(header(&refused, "retry-after"), "30");
    team.post("/v1/jobs?dry_run=true", spec.clone()).await.expect(200);
    boss.submit(spec.clone()).await;
    let queued = team
        .get("/v1/jobs?owner=team&status=queued")
        .await
        .expect(200)
        .json();
    let first = queued["data"][0]["id"].as_str().unwrap().to_owned();
    team.send(team.request(Method::POST, &format!("/v1/jobs/{first}/cancel")))
        .await
        .expect(200);
    team.submit(spec).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_given_at_the_command_line_and_wrong_ones_are_named() {
    let (server, boss, _team) = with_quotas(json!({})).await;
    let data = server.data_dir();
    let keys = |arguments: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_finetuned"))
            .arg("keys")
            .args(arguments.split(' '))
            .arg("--data-dir")
            .arg(&data)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let line = "create ci --scope write --max-bytes 9000000000 --max-queued-jobs 5 --max-running-jobs 1 --max-requests-per-second 20";
    assert!(keys(line).0);
    let (_, listed) = keys("list");
    assert!(
        listed.contains("at most 9000000000 bytes  at most 5 queued jobs  at most 1 running jobs  at most 20 requests a second"),
        "{listed}"
    );
    let shown = boss.get("/v1/keys/ci").await.expect(200).json();
    assert_eq!(shown["quotas"]["max_running_jobs"], 1);
    assert!(!keys("create other --scope write --max-bytes 0").0);
    let wrong = json!({"name": "x", "scopes": ["write"], "quotas": {"max_bytes": 0, "max_disk": 1}});
    let problem = boss.post("/v1/keys", wrong).await.problem(422, "invalid");
    let mut pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/quotas/max_bytes", "/quotas/max_disk"]);
    server.stop().await;
}
