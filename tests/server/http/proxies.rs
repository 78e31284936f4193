//! Requests as they arrive through proxies, load balancers and networks of containers: with another host name, without one, without its
//! port, or below a path that was cut off.

use reqwest::Method;
use serde_json::json;

use crate::support::{Server, pictures, proxy::Proxy, raw::Raw};

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_health_is_told_under_any_host_name_and_nothing_else() {
    let server = Server::start().await;
    let health = [
        "/healthz",
        "/readyz",
        "/ping",
        "/v2/health/live",
        "/v2/health/ready",
        "/healthz/",
    ];
    for path in health {
        for host in ["finetuned:8080", "finetuned_web", "evil.test", "", "a b"] {
            let mut connection = Raw::open(&server.api).await;
            connection
                .send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
                .await;
            assert_eq!(connection.answer().await.status, 200, "{path} on {host:?}");
        }
        // As HAProxy's checks and ancient probes ask.
        let mut connection = Raw::open(&server.api).await;
        connection.send(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!(connection.answer().await.status, 200, "{path}");
    }
    for path in [
        "/v1/system",
        "/",
        "/v1/models",
        "/v2",
        "/healthz2",
        "/v2/models/x/ready",
    ] {
        let mut connection = Raw::open(&server.api).await;
        connection
            .send(format!("GET {path} HTTP/1.1\r\nhost: finetuned:8080\r\n\r\n"))
            .await;
        let problem = connection.answer().await.problem(403, "host-not-allowed");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("--allowed-host finetuned`"), "{path}: {detail}");
        let mut connection = Raw::open(&server.api).await;
        connection.send(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        connection.answer().await.problem(403, "host-not-allowed");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_behind_a_proxy_that_drops_the_port_can_write_and_pages_of_other_hosts_cannot() {
    let server = Server::with(|config| config.allowed_hosts = vec!["models.example.org".to_owned()]).await;
    let api = &server.api;
    let send = |host: &'static str, origin: &'static str, site: Option<&'static str>| {
        let mut request = api
            .request(Method::POST, "/v1/jobs")
            .header("host", host)
            .header("origin", origin)
            .json(&json!({"dataset": "x"}));
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        api.send(request)
    };
    for (host, origin) in [
        ("localhost", "http://localhost:8443"),
        ("127.0.0.1", "https://127.0.0.1:9000"),
        ("models.example.org", "https://models.example.org:8443"),
        ("models.example.org", "https://models.example.org"),
        ("models.example.org:8443", "https://models.example.org:8443"),
    ] {
        send(host, origin, None).await.problem(422, "invalid");
    }
    for (host, origin, site) in [
        ("models.example.org", "https://evil.test:8443", None),
        (
            "models.example.org",
            "https://models.example.org.evil.test:8443",
            None,
        ),
        ("models.example.org:8443", "https://models.example.org:9000", None),
        ("models.example.org", "null", None),
        (
            "models.example.org",
            "https://models.example.org:9000",
            Some("same-site"),
        ),
        ("models.example.org", "https://evil.test", Some("cross-site")),
    ] {
        send(host, origin, site).await.problem(403, "forbidden");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_leads_back_through_the_proxy() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server.api, "/tools/finetuned").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let created = http
        .put(format!("{}/v1/datasets?name=things", proxy.base))
        .body(pictures::flat_archive(2, 3))
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    assert!(
        location.starts_with("/tools/finetuned/v1/datasets/ds_"),
        "{location}"
    );
    let dataset = http
        .get(created.url().join(&location).unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(dataset.status(), 200);
    // Something that is no path is no prefix.
    for prefix in ["//evil.test", "https://evil.test", "tools", "/a b"] {
        let made_up = server
            .api
            .request(Method::POST, "/v1/uploads")
            .header("tus-resumable", "1.0.0")
            .header("upload-length", 5)
            .header("upload-metadata", "filename YS56aXA=")
            .header("x-forwarded-prefix", prefix);
        let begun = server.api.send(made_up).await.expect(201);
        let location = begun.headers["location"].to_str().unwrap();
        assert!(location.starts_with("/v1/uploads/"), "{prefix}: {location}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_at_the_end_of_a_path_changes_nothing() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    for path in [
        "/v1/datasets",
        "/v1/datasets/things",
        "/v1/jobs",
        "/v1/models",
        "/v1/aliases",
        "/v2",
        "/ping",
        "/openapi.json",
    ] {
        let plain = api.get(path).await.expect(200).text;
        for ending in ["/", "//"] {
            assert_eq!(
                api.get(&format!("{path}{ending}")).await.expect(200).text,
                plain,
                "{path}"
            );
        }
    }
    let one = api.get("/v1/datasets/?limit=1").await.expect(200).json();
    assert_eq!(one["data"][0]["name"], "things");
    let spec = json!({"dataset": "things"});
    api.post("/v1/jobs/?dry_run=true", spec).await.expect(200);
    api.get("/nowhere/").await.problem(404, "not-found");
    server.stop().await;
}
