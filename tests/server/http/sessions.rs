//! Browsers: logging in with a key, what the cookie is and is not good for, and logging out.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Api, Server, pictures, stream::Stream};

/// A browser's requests: with its cookie, as from the dashboard's own page.
struct Browser {
    api: Api,
    cookie: String,
    /// Everything that the server said of it.
    set: String,
}

impl Browser {
    async fn log_in(api: &Api, key: &str) -> Self {
        let answer = api.post("/v1/session", json!({"key": key})).await.expect(200);
        let set = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        assert!(
            !answer.text.contains(&key[3..20]) && !set.contains(&key[3..20]),
            "it has the key"
        );
        Self {
            api: api.clone(),
            cookie: set.split(';').next().unwrap().to_owned(),
            set,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.api.request(method, path).header("cookie", &self.cookie)
    }

    async fn get(&self, path: &str) -> crate::support::api::Answer {
        self.api.send(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: Value) -> crate::support::api::Answer {
        let request = self.request(Method::POST, path).header("origin", &self.api.base);
        self.api.send(request.json(&body)).await
    }
}

async fn locked() -> (Server, String) {
    locked_behind("192.0.2.1").await
}

/// The same with a trusted proxy.
async fn locked_behind(proxy: &str) -> (Server, String) {
    let server = Server::with(|config| config.trusted_proxies = vec![proxy.parse().unwrap()]).await;
    let request = json!({"name": "boss", "scopes": ["admin"]});
    let made = server.api.post("/v1/keys", request).await.expect(201).json();
    (server, made["secret"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_in_with_a_key_follows_a_job_and_logs_out() {
    let (server, key) = locked().await;
    let api = &server.api;
    let browser = Browser::log_in(api, &key).await;
    for attribute in [
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/;",
        "; Max-Age=604800;",
    ] {
        assert!(browser.set.contains(attribute), "{}", browser.set);
    }
    assert!(!browser.set.contains("Secure"), "{}", browser.set);
    assert_eq!(
        browser.get("/v1/session").await.expect(200).json()["key"]["name"],
        "boss"
    );
    let with_key = api.with_key(&key);
    with_key.upload("things", pictures::flat_archive(2, 3)).await;
    let spec = json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}});
    let job = browser.post("/v1/jobs", spec).await.expect(201).json();
    let events = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let open = browser
        .request(Method::GET, &events)
        .header("accept", "text/event-stream");
    let mut stream = Stream::of(open.send().await.unwrap());
    assert_eq!(stream.next().await.unwrap().kind, "status");

    let out = browser
        .request(Method::DELETE, "/v1/session")
        .header("origin", &api.base);
    let out = api.send(out).await.expect(204);
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0;"));
    browser.get("/v1/jobs").await.problem(401, "session-ended");
    let session = browser.get("/v1/session").await.expect(200).json();
    assert_eq!(
        (&session["needs_key"], &session["key"]),
        (&json!(true), &json!(null))
    );
    // The value is no key, and the key no session.
    let value = browser.cookie.split_once('=').unwrap().1;
    api.with_key(value)
        .get("/v1/jobs")
        .await
        .problem(401, "key-malformed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_changes_something_only_from_the_servers_own_pages() {
    let (server, key) = locked().await;
    let api = &server.api;
    let browser = Browser::log_in(api, &key).await;
    let revoke = |headers: &[(&'static str, &str)]| {
        let mut request = browser.request(Method::DELETE, "/v1/keys/nobody");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        api.send(request)
    };
    revoke(&[]).await.problem(403, "origin-missing");
    revoke(&[("origin", "https://evil.test")])
        .await
        .problem(403, "forbidden");
    revoke(&[("origin", "null")]).await.problem(403, "forbidden");
    revoke(&[("sec-fetch-site", "same-site")])
        .await
        .problem(403, "forbidden");
    revoke(&[("origin", api.base.as_str())])
        .await
        .problem(404, "not-found");
    revoke(&[("sec-fetch-site", "same-origin")])
        .await
        .problem(404, "not-found");
    // Nobody else's page logs a browser in, either.
    let forged = api
        .request(Method::POST, "/v1/session")
        .header("origin", "https://evil.test");
    api.send(forged.json(&json!({"key": key})))
        .await
        .problem(403, "forbidden");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_key_and_so_does_what_it_follows() {
    let (server, key) = locked().await;
    let boss = server.api.with_key(&key);
    let made = boss
        .post("/v1/keys", json!({"name": "guest", "scopes": ["read"]}))
        .await
        .expect(201)
        .json();
    let guest = made["secret"].as_str().unwrap();
    let browser = Browser::log_in(&server.api, guest).await;
    browser
        .post("/v1/jobs", json!({}))
        .await
        .problem(403, "scope-missing");
    boss.upload("things", pictures::flat_archive(2, 3)).await;
    let spec = json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}});
    let job = boss.submit(spec).await;
    let events = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let open = browser
        .request(Method::GET, &events)
        .header("accept", "text/event-stream");
    let mut by_cookie = Stream::of(open.send().await.unwrap());
    let mut by_key = Stream::of(server.api.with_key(guest).open_stream(&events, None).await);
    let mut of_boss = Stream::of(boss.open_stream(&events, None).await);
    for stream in [&mut by_cookie, &mut by_key, &mut of_boss] {
        assert_eq!(stream.next().await.unwrap().kind, "status");
    }
    boss.delete("/v1/keys/guest").await.expect(204);
    assert!(by_cookie.next().await.is_none() && by_key.next().await.is_none());
    browser.get("/v1/jobs").await.problem(401, "key-revoked");
    // The others go on.
    let cancel = boss.request(Method::POST, &events.replace("/events", "/cancel"));
    boss.send(cancel).await.expect(200);
    assert_eq!(of_boss.until("end").await.kind, "end");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_cookie_is_the_paths_and_of_tls() {
    let (server, key) = locked_behind("127.0.0.1").await;
    let cookie = cookie_behind_a_proxy(&server.api, &key).await;
    assert!(
        cookie.contains("; Path=/tools/finetuned/;") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    server.stop().await;
    // Who is no proxy cannot say what one would.
    let (server, key) = locked_behind("127.0.0.2").await;
    let cookie = cookie_behind_a_proxy(&server.api, &key).await;
    assert!(
        cookie.contains("; Path=/;") && !cookie.contains("Secure"),
        "{cookie}"
    );
    server.stop().await;
}

async fn cookie_behind_a_proxy(api: &Api, key: &str) -> String {
    let login = api
        .request(Method::POST, "/v1/session")
        .header("x-forwarded-prefix", "/tools/finetuned")
        .header("x-forwarded-proto", "https")
        .json(&json!({"key": key}));
    let answer = api.send(login).await.expect(200);
    answer.headers["set-cookie"].to_str().unwrap().to_owned()
}
