//! A client that checks every answer against the API's own description: status, media type and body.

use std::{sync::LazyLock, time::Duration};

use reqwest::{
    Method, RequestBuilder, Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap},
};
use serde_json::{Value, json};

static DESCRIPTION: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(finetuned::http::openapi()).unwrap());

/// The list of all types of problems.
static PROBLEMS: LazyLock<String> =
    LazyLock::new(|| super::document::Document::read("docs/PROBLEMS.md").text);

#[derive(Clone)]
pub struct Api {
    pub base: String,
    http: reqwest::Client,
    key: Option<String>,
}

/// An answer that is as described.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    asked: String,
}

impl Api {
    pub fn new(base: &str) -> Self {
        Self::trusting(base, &[])
    }

    /// A client of a server with TLS, and the certificates of those who may vouch for it.
    pub fn trusting(base: &str, authorities: &[u8]) -> Self {
        // It fails where another test did it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(300))
            .no_proxy()
            // What a redirect says is looked at, not followed.
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(authorities).unwrap())
            .build()
            .unwrap();
        Self {
            base: base.to_owned(),
            http,
            key: None,
        }
    }

    /// The same with a key.
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// As `curl -T` does.
    pub async fn put(&self, path: &str, body: Vec<u8>) -> Answer {
        self.send(self.request(Method::PUT, path).body(body)).await
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let asked = format!("{} {}", request.method(), request.url().path());
        let response = self
            .http
            .execute(request)
            .await
            .unwrap_or_else(|error| panic!("{asked}: {error:?}"));
        let answer = Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
            asked,
        };
        answer.check();
        answer
    }

    /// An event stream, open; its lines are read by [`super::stream`].
    pub async fn open_stream(&self, path: &str, last_event_id: Option<i64>) -> Response {
        let mut request = self
            .request(Method::GET, path)
            .header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        request.send().await.unwrap()
    }

    /// Uploads an archive and waits until it was read.
    pub async fn upload(&self, name: &str, archive: Vec<u8>) -> Value {
        let created = self
            .put(&format!("/v1/datasets?name={name}"), archive)
            .await
            .expect(201)
            .json();
        self.get(&format!(
            "/v1/datasets/{}?wait=120",
            created["id"].as_str().unwrap()
        ))
        .await
        .expect(200)
        .json()
    }

    /// Submits a job.
    pub async fn submit(&self, spec: Value) -> Value {
        self.post("/v1/jobs", spec).await.expect(201).json()
    }

    /// Waits until a job is over.
    pub async fn finished(&self, job: &Value) -> Value {
        let job = self
            .get(&format!("/v1/jobs/{}?wait=280", job["id"].as_str().unwrap()))
            .await
            .expect(200)
            .json();
        let over = ["succeeded", "failed", "cancelled"].contains(&job["status"].as_str().unwrap());
        assert!(over, "the job is not over: {job:#}");
        job
    }
}

impl Answer {
    /// Says what was answered when it is not what the test expects.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.asked, self.text))
    }

    /// Expects a problem of this name and gives its body.
    #[track_caller]
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
        let problem = self.json();
        assert_eq!(
            problem["type"],
            format!("urn:finetuned:problem:{slug}"),
            "{}: {}",
            self.asked,
            self.text
        );
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["request_id"].as_str(),
            self.headers["x-request-id"].to_str().ok()
        );
        problem
    }

    /// Holds the answer to the description.
    fn check(&self) {
        let (method, path) = self.asked.split_once(' ').unwrap();
        let media = self
            .headers
            .get(CONTENT_TYPE)
            .map(|kind| kind.to_str().unwrap().split(';').next().unwrap().to_owned());
        if self.status >= 400 {
            assert_eq!(
                media.as_deref(),
                Some("application/problem+json"),
                "{}: {}",
                self.asked,
                self.text
            );
            if method == "HEAD" {
                return;
            }
            let slug = self.json()["type"]
                .as_str()
                .unwrap()
                .rsplit(':')
                .next()
                .unwrap()
                .to_owned();
            assert!(
                PROBLEMS.contains(&format!("| `{slug}` |")),
                "`{slug}` is not in docs/PROBLEMS.md"
            );
            self.check_body(&json!({"$ref": "#/components/schemas/Problem"}));
            return;
        }
        let operation =
            find_operation(method, path).unwrap_or_else(|| panic!("{} is not described", self.asked));
        let described = &operation["responses"][self.status.to_string()];
        assert!(
            described.is_object(),
            "{} answers {}, which is not described",
            self.asked,
            self.status
        );
        let Some(content) = described.get("content") else {
            assert_eq!(self.text, "", "{}: a body where none is described", self.asked);
            return;
        };
        let media = media.unwrap_or_else(|| panic!("{}: no media type", self.asked));
        assert!(
            content.get(&media).is_some(),
            "{} answers with {media}, which is not described",
            self.asked
        );
        if media == "application/json" {
            self.check_body(&content[&media]["schema"]);
        }
    }

    fn check_body(&self, schema: &Value) {
        let mut schema = schema.clone();
        schema["components"] = DESCRIPTION["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let body = self.json();
        let faults: Vec<String> = validator
            .iter_errors(&body)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(
            faults.is_empty(),
            "{} is not as described: {faults:#?}\n{body:#}",
            self.asked
        );
    }
}

/// The operation whose path template fits.
fn find_operation(method: &str, path: &str) -> Option<&'static Value> {
    // A slash at the end changes nothing.
    let path = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    let fits = |template: &str| {
        let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        let open_ended = template.ends_with("{path}") && given.len() >= wanted.len();
        (wanted.len() == given.len() || open_ended)
            && wanted.iter().zip(&given).all(|(wanted, given)| {
                // `{model}:predict`
                let after = wanted.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                after.map_or(wanted == given, |(_, verb)| given.ends_with(verb))
            })
    };
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    let mut fitting: Vec<_> = paths.iter().filter(|(template, _)| fits(template)).collect();
    // Those that say most first.
    fitting.sort_by_key(|(template, _)| (template.matches('{').count(), !template.contains("}:")));
    fitting
        .first()
        .and_then(|(_, item)| item.get(method.to_lowercase()))
}
