//! Jobs: submitting, waiting in the queue, being cancelled, being looked at.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, pictures, stream::Stream};

/// A spec that runs in seconds.
fn quick(dataset: &str) -> Value {
    json!({"dataset": dataset, "backbone": {"weights": "none"}, "image": {"size": 32}, "epochs": 2, "batch_size": 8})
}

/// A spec that runs until somebody stops it.
fn endless(dataset: &str) -> Value {
    let mut spec = quick(dataset);
    spec["epochs"] = json!(10_000);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_resolves_the_spec_and_makes_no_job() {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(2, 3)).await;
    let resolved = server
        .api
        .post("/v1/jobs?dry_run=true", json!({"dataset": "things"}))
        .await
        .expect(200)
        .json();
    assert_eq!(resolved["optimizer"]["momentum"], 0.9);
    assert_eq!(resolved["freeze"], "backbone");
    assert_eq!(
        server.api.get("/v1/jobs").await.expect(200).json()["data"],
        json!([])
    );
    let again = server
        .api
        .post("/v1/jobs?dry_run=true", resolved.clone())
        .await
        .expect(200)
        .json();
    assert_eq!(again, resolved, "a resolved spec is itself a spec");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_twice_under_one_key_makes_one_job() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let send = |spec: Value| {
        api.send(
            api.request(Method::POST, "/v1/jobs")
                .header("idempotency-key", "\"order-7\"")
                .json(&spec),
        )
    };
    let mut waiting = quick("things");
    waiting["device"] = json!("cuda:9");
    let first = send(waiting.clone()).await.expect(201).json();
    let second = send(waiting.clone()).await.expect(201).json();
    assert_eq!(first["id"], second["id"]);
    waiting["seed"] = json!(1);
    send(waiting).await.problem(422, "idempotency-mismatch");
    assert_eq!(
        api.get("/v1/jobs").await.expect(200).json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // A repeat is no new request: what has changed since the first one does not matter.
    let job = format!("/v1/jobs/{}", first["id"].as_str().unwrap());
    api.post(&format!("{job}/cancel"), json!({})).await.expect(200);
    api.delete("/v1/datasets/things").await.expect(204);
    let mut same = quick("things");
    same["device"] = json!("cuda:9");
    let repeated = send(same.clone()).await.expect(201).json();
    assert_eq!(
        (&repeated["id"], &repeated["status"]),
        (&first["id"], &json!("cancelled"))
    );
    // The job is gone, and so is nothing else: the answer says so, and makes no job in its place.
    api.delete(&job).await.expect(204);
    for _ in 0..2 {
        let gone = send(same.clone()).await.problem(410, "job-deleted");
        let detail = gone["detail"].as_str().unwrap();
        assert!(
            detail.contains(first["id"].as_str().unwrap()) && detail.contains("new key"),
            "{detail}"
        );
    }
    let mut other = same.clone();
    other["seed"] = json!(1);
    send(other).await.problem(422, "idempotency-mismatch");
    assert_eq!(api.get("/v1/jobs").await.expect(200).json()["data"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_has_an_order_a_limit_and_a_way_out() {
    let server = Server::with(|config| config.limits.max_queued_jobs = 3).await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let mut ids = Vec::new();
    for (index, priority) in [0, 0, 5].into_iter().enumerate() {
        let mut spec = quick("things");
        spec["device"] = json!("cuda:9");
        spec["priority"] = json!(priority);
        spec["name"] = json!(format!("job-{index}"));
        ids.push(api.submit(spec).await["id"].as_str().unwrap().to_owned());
    }
    let full = api.post("/v1/jobs", quick("things")).await;
    full.problem(429, "queue-full");
    assert!(
        full.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0
    );
    let mut positions = Vec::new();
    for id in &ids {
        positions.push(
            api.get(&format!("/v1/jobs/{id}")).await.expect(200).json()["queue_position"]
                .as_u64()
                .unwrap(),
        );
    }
    assert_eq!(positions, [1, 2, 0]);
    let page = api.get("/v1/jobs?limit=2&order=asc").await.expect(200).json();
    assert_eq!(
        (page["data"].as_array().unwrap().len(), &page["has_more"]),
        (2, &json!(true))
    );
    let rest = api
        .get(&format!(
            "/v1/jobs?order=asc&after={}",
            page["data"][1]["id"].as_str().unwrap()
        ))
        .await
        .expect(200)
        .json();
    assert_eq!(rest["data"][0]["id"], ids[2].as_str());
    assert_eq!(
        api.get("/v1/jobs/job-1").await.expect(200).json()["id"],
        ids[1].as_str()
    );
    let cancelled = api
        .post(&format!("/v1/jobs/{}/cancel", ids[0]), json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&cancelled["status"], &cancelled["stop_reason"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    api.post(&format!("/v1/jobs/{}/cancel", ids[0]), json!({}))
        .await
        .problem(409, "job-state");
    let queued = api
        .get("/v1/jobs?status=queued&dataset=things")
        .await
        .expect(200)
        .json();
    assert_eq!(queued["data"].as_array().unwrap().len(), 2);
    api.delete(&format!("/v1/jobs/{}", ids[1]))
        .await
        .problem(409, "job-state");
    api.delete(&format!("/v1/jobs/{}", ids[0])).await.expect(204);
    api.get(&format!("/v1/jobs/{}", ids[0]))
        .await
        .problem(404, "not-found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_running_job_stops_it_and_frees_its_device() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 8)).await;
    let job = api.submit(endless("things")).await;
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let mut stream = Stream::of(api.open_stream(&format!("{path}/events"), None).await);
    stream.until("epoch").await;
    let running = api.get(&path).await.expect(200).json();
    assert_eq!(
        (&running["status"], &running["device"]),
        (&json!("running"), &json!("cpu"))
    );
    assert!(running["progress"]["steps"].as_u64().unwrap() > 10_000);
    let system = api.get("/v1/system").await.expect(200).json();
    assert_eq!(system["devices"][0]["job"], job["id"]);
    api.post(&format!("{path}/cancel"), json!({})).await.expect(202);
    let end = stream.until("end").await;
    assert_eq!(end.data["status"], "cancelled");
    assert!(stream.next().await.is_none());
    let next = api.submit(quick("things")).await;
    assert_eq!(api.finished(&next).await["status"], "succeeded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_weights_to_start_from_fails_and_says_what_to_do() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 4)).await;
    for weights in ["imagenet", "mine.safetensors"] {
        let job = api
            .submit(json!({"dataset": "things", "backbone": {"weights": weights}}))
            .await;
        let job = api.finished(&job).await;
        assert_eq!(job["error"]["code"], "weights_unavailable", "{job:#}");
        let message = job["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("weights-dir") || message.contains("\"none\""),
            "{message}"
        );
        assert_eq!(job["attempt"], 1, "trying again would not help");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curves_are_the_same_rows_as_the_events() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 20)).await;
    let job = api.finished(&api.submit(quick("things")).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let events = api
        .get(&format!("{path}/events?limit=1000"))
        .await
        .expect(200)
        .json();
    let epochs: Vec<&Value> = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == "epoch")
        .map(|event| &event["data"])
        .collect();
    assert_eq!(epochs.len(), 2);
    let curves = api
        .get(&format!("{path}/metrics?series=val_loss,train_loss"))
        .await
        .expect(200)
        .json();
    assert_eq!(curves["series"].as_object().unwrap().len(), 2);
    for (point, epoch) in curves["series"]["val_loss"]
        .as_array()
        .unwrap()
        .iter()
        .zip(&epochs)
    {
        assert_eq!(
            (&point["value"], &point["step"]),
            (&epoch["val_loss"], &epoch["step"])
        );
    }
    assert!(!curves["series"]["train_loss"].as_array().unwrap().is_empty());
    api.get(&format!("{path}/metrics?series=nonsense"))
        .await
        .problem(422, "invalid");
    let csv = api
        .send(
            api.request(Method::GET, &format!("{path}/metrics"))
                .header("accept", "text/csv"),
        )
        .await
        .expect(200);
    assert!(csv.text.starts_with("series,step,epoch,value\n"));
    assert_eq!(
        csv.text
            .lines()
            .filter(|line| line.starts_with("val_accuracy,"))
            .count(),
        2
    );
    let second = api
        .get(&format!("{path}/events?after=2&limit=1"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&second["data"][0]["seq"], &second["has_more"]),
        (&json!(3), &json!(true))
    );
    api.get(&format!("{path}/logs?tail=5")).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_keeps_the_trace_of_its_request() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 12)).await;
    let submitted = async |traceparent: &str| {
        let spec = json!({"dataset": "things", "epochs": 1, "backbone": {"architecture": "resnet20"}});
        let request = api
            .request(Method::POST, "/v1/jobs")
            .header("traceparent", traceparent);
        api.send(request.json(&spec)).await.expect(201).json()
    };
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
    let job = submitted(&traceparent).await;
    assert_eq!(job["trace_id"], trace);
    let job = api.finished(&job).await;
    assert_eq!(
        (&job["trace_id"], &job["status"]),
        (&json!(trace), &json!("succeeded"))
    );
    let logs = api
        .get(&format!("/v1/jobs/{}/logs", job["id"].as_str().unwrap()))
        .await
        .expect(200);
    let first = logs.text.lines().next().unwrap();
    assert!(
        first.contains("attempt 1") && first.contains(&traceparent),
        "{first}"
    );
    assert_eq!(submitted("not-a-trace").await["trace_id"], json!(null));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_its_dataset() {
    let server = Server::start().await;
    let api = &server.api;
    api.put("/v1/datasets?name=things", pictures::flat_archive(2, 12))
        .await
        .expect(201);
    let job = api.submit(quick("things")).await;
    assert_eq!(api.finished(&job).await["status"], "succeeded");
    // And fails for a reason of its own when the dataset turns out to be none.
    api.put(
        "/v1/datasets?name=nothing",
        pictures::zip([("readme.txt", b"no".to_vec())]),
    )
    .await
    .expect(201);
    let answer = api.post("/v1/jobs", quick("nothing")).await;
    match answer.status {
        201 => assert_eq!(
            api.finished(&answer.json()).await["error"]["code"],
            "invalid_data"
        ),
        _ => drop(answer.problem(422, "invalid")),
    }
    server.stop().await;
}
