//! Requests as they arrive through proxies, load balancers and networks of containers: with another host name, without one, without its
//! port, or below a path that was cut off.

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Api, Server,
    patience::wait_until,
    pictures,
    proxy::Proxy,
    raw::{Raw, RawAnswer},
};

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
    let server = Server::with(|config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]).await;
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

/// A trusted proxy and somebody else, for the servers of the following tests.
const TRUSTED: &str = "127.0.0.3";
const OTHER: &str = "127.0.0.4";

async fn behind_a_proxy(public_url: Option<&str>) -> Server {
    Server::with(|config| {
        config.trusted_proxies = vec![TRUSTED.parse().unwrap()];
        config.allowed_hosts = vec!["models.example.org".to_owned()];
        config.public_url = public_url.map(|url| url.parse().unwrap());
    })
    .await
}

/// Begins an upload at this path, from an address and with these headers.
async fn begins(api: &Api, address: &str, path: &str, headers: &[(&str, &str)]) -> RawAnswer {
    let mut connection = Raw::from(api, address).await;
    let mut head = format!(
        "POST {path} HTTP/1.1\r\ntus-resumable: 1.0.0\r\nupload-length: 5\r\nupload-metadata: filename YS56aXA=\r\n"
    );
    if !headers.iter().any(|(name, _)| *name == "host") {
        head += "host: localhost\r\n";
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    connection.send(head + "\r\n").await;
    connection.answer().await
}

fn location(answer: &RawAnswer) -> &str {
    let lines = answer.head.lines();
    let mut locations = lines.filter_map(|line| line.strip_prefix("location: "));
    locations
        .next()
        .unwrap_or_else(|| panic!("no location: {}", answer.head))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_says_is_believed_of_a_trusted_one_only() {
    let server = behind_a_proxy(None).await;
    let api = &server.api;
    let prefix = [("x-forwarded-prefix", "/tools")];
    let answer = begins(api, TRUSTED, "/v1/uploads", &prefix).await;
    assert!(location(&answer).starts_with("/tools/v1/uploads/"));
    let answer = begins(api, OTHER, "/v1/uploads", &prefix).await;
    assert!(location(&answer).starts_with("/v1/uploads/"));
    // The host that a proxy has replaced by the server's own, and the page that the browser shows.
    let page = ("origin", "https://models.example.org");
    for (name, value) in [
        ("x-forwarded-host", "models.example.org"),
        ("forwarded", "for=192.0.2.7;host=models.example.org;proto=https"),
    ] {
        let headers = [("host", "127.0.0.1:8080"), page, (name, value)];
        let answer = begins(api, TRUSTED, "/v1/uploads", &headers).await;
        assert_eq!(answer.status, 201, "{}", answer.head);
        begins(api, OTHER, "/v1/uploads", &headers)
            .await
            .problem(403, "forbidden");
    }
    let elsewhere = [("x-forwarded-host", "evil.test")];
    begins(api, TRUSTED, "/v1/uploads", &elsewhere)
        .await
        .problem(403, "host-not-allowed");
    assert_eq!(begins(api, OTHER, "/v1/uploads", &elsewhere).await.status, 201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_noted_under_the_last_address_that_is_no_trusted_proxys() {
    let server = behind_a_proxy(None).await;
    let api = &server.api;
    for (through, headers, noted) in [
        (TRUSTED, &[][..], TRUSTED),
        (TRUSTED, &[("x-forwarded-for", "192.0.2.7")], "192.0.2.7"),
        // What a client makes up comes first.
        (
            TRUSTED,
            &[("x-forwarded-for", "10.0.0.1, 192.0.2.8")],
            "192.0.2.8",
        ),
        (
            TRUSTED,
            &[
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-for", "192.0.2.9, 127.0.0.3"),
            ],
            "192.0.2.9",
        ),
        (
            TRUSTED,
            &[(
                "forwarded",
                "for=10.0.0.1, for=\"[2001:db8::7]:4711\";proto=https",
            )],
            "2001:db8::7",
        ),
        // Of two that contradict each other, one is the client's.
        (
            TRUSTED,
            &[("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=10.0.0.1")],
            TRUSTED,
        ),
        (OTHER, &[("x-forwarded-for", "192.0.2.7")], OTHER),
        (OTHER, &[("forwarded", "for=192.0.2.7")], OTHER),
    ] {
        let answer = begins(api, through, "/v1/uploads", headers).await;
        assert_eq!(answer.status, 201, "{}", answer.head);
        let id = location(&answer).rsplit('/').next().unwrap();
        let mut seen = None;
        wait_until("the change is noted", async || {
            let list = api.get("/v1/audit?limit=20").await.expect(200).json();
            let records = list["data"].as_array().unwrap();
            seen = records.iter().find(|record| record["thing"] == id).cloned();
            seen.is_some()
        })
        .await;
        assert_eq!(seen.unwrap()["address"], noted, "{through} {headers:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_path_of_its_public_address_the_server_is_whole() {
    let server = behind_a_proxy(Some("https://public.example.org/tools/finetuned")).await;
    let api = &server.api;
    let get = async |path: &str| {
        let mut connection = Raw::from(api, OTHER).await;
        connection.get(path).await
    };
    // All addresses of the dashboard are relative to this one.
    let moved = get("/tools/finetuned").await;
    assert_eq!((moved.status, location(&moved)), (308, "/tools/finetuned/"));
    for path in ["", "static/main.js", "v1/system?x", "healthz", "openapi.json"] {
        let (below, plain) = (
            get(&format!("/tools/finetuned/{path}")).await,
            get(&format!("/{path}")).await,
        );
        assert_eq!((below.status, plain.status), (200, 200), "{path}");
    }
    get("/tools/finetuned2/v1/system").await.problem(404, "not-found");
    // The prefix leads back to where the request came from: below it, or cut off by a trusted proxy.
    let answer = begins(api, OTHER, "/tools/finetuned/v1/uploads", &[]).await;
    assert!(location(&answer).starts_with("/tools/finetuned/v1/uploads/"));
    let answer = begins(api, TRUSTED, "/v1/uploads", &[]).await;
    assert!(location(&answer).starts_with("/tools/finetuned/v1/uploads/"));
    let answer = begins(api, OTHER, "/v1/uploads", &[]).await;
    assert!(location(&answer).starts_with("/v1/uploads/"));
    // Its host is allowed, and its pages may change something whatever host the proxy puts in its place.
    let page = [
        ("host", "public.example.org"),
        ("origin", "https://public.example.org"),
    ];
    assert_eq!(begins(api, OTHER, "/v1/uploads", &page).await.status, 201);
    let page = [
        ("host", "127.0.0.1:8080"),
        ("origin", "https://public.example.org"),
    ];
    assert_eq!(begins(api, OTHER, "/v1/uploads", &page).await.status, 201);
    for origin in ["http://public.example.org", "https://public.example.org:8443"] {
        let page = [("host", "127.0.0.1:8080"), ("origin", origin)];
        begins(api, OTHER, "/v1/uploads", &page)
            .await
            .problem(403, "forbidden");
    }
    server.stop().await;
}

#[test]
fn an_address_that_is_none_is_refused_at_the_start() {
    for (url, told) in [
        ("models.example.org", "https://HOST"),
        (
            "ftp://models.example.org",
            "neither with https:// nor with http://",
        ),
        ("https://boss@models.example.org", "name or a password"),
        ("https://models.example.org/?a=b", "end with its path"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_finetuned"))
            .args(["serve", "--public-url", url])
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && errors.contains(told),
            "{url}: {errors}"
        );
    }
}
