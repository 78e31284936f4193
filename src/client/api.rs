//! Calls to a server: URLs, JSON requests and responses, and everything that can go wrong as one [`Failure`].

use std::{fmt, io, net::IpAddr, time::Duration};

use reqwest::{RequestBuilder, Response, StatusCode, Url, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::text::printable;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Invalid arguments.
    #[error("{0}")]
    Usage(String),
    /// The server refused the request.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server did not respond.
    #[error(
        "the server at {server} cannot be reached: {reason}. Is `finetuned serve` running there? Set another address with --server or FINETUNED_SERVER"
    )]
    Unreachable { server: String, reason: String },
    /// The response could not be parsed.
    #[error(
        "the server sent an unexpected response ({0}); is it another version, or not a finetuned server?"
    )]
    Unexpected(String),
    /// A local file cannot be read.
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    /// The reader of standard output has closed it.
    #[error("standard output is closed")]
    OutputClosed,
}

/// An error of the server (RFC 9457).
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// Seconds to wait before the next try, if the server says so (`Retry-After`).
    pub retry_after: Option<u64>,
    /// The body as it was received.
    pub raw: Value,
    known: KnownProblem,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KnownProblem {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
    request_id: Option<String>,
    errors: Vec<KnownFault>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KnownFault {
    pointer: String,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, retry_after: Option<u64>, body: &[u8]) -> Self {
        let raw = serde_json::from_slice(body).unwrap_or(Value::Null);
        let known = KnownProblem::deserialize(&raw).unwrap_or_default();
        Self {
            status,
            retry_after,
            raw,
            known,
        }
    }

    /// Whether the problem's type ends with this slug.
    pub fn is(&self, slug: &str) -> bool {
        self.known.kind.rsplit(':').next() == Some(slug)
    }

    /// The problem in one sentence.
    pub fn sentence(&self) -> String {
        let text = [&self.known.detail, &self.known.title]
            .into_iter()
            .find(|text| !text.is_empty());
        match text {
            Some(text) => printable(text),
            None => format!("the server responded with {}", self.status),
        }
    }
}

impl fmt::Display for Problem {
    /// The sentence, then a line for each invalid field, with the pointers aligned.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.sentence(), self.status.as_u16())?;
        let errors = &self.known.errors;
        let width = errors.iter().map(|error| error.pointer.chars().count()).max();
        for error in errors {
            let width = width.unwrap_or(0).min(40);
            write!(
                out,
                "\n  {:width$}  {}",
                printable(&error.pointer),
                printable(&error.message)
            )?;
        }
        match &self.known.request_id {
            Some(id) if self.status.is_server_error() => write!(out, "\n  request {}", printable(id)),
            _ => Ok(()),
        }
    }
}

/// A server's API.
pub struct Api {
    server: Url,
    http: reqwest::Client,
}

impl Api {
    /// A server that needs no key.
    #[cfg(test)]
    pub fn new(server: &Url) -> Result<Self, Failure> {
        Self::with(server, None)
    }

    /// A server, and the header `Authorization` that it gets with every request.
    pub fn with(server: &Url, authorization: Option<header::HeaderValue>) -> Result<Self, Failure> {
        // Fails if a provider is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
        if server.scheme() == "http" {
            // Plain HTTP must work on machines without certificates; otherwise the client insists on finding some.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(server) {
            builder = builder.no_proxy();
        }
        if let Some(value) = authorization {
            builder = builder.default_headers(header::HeaderMap::from_iter([(header::AUTHORIZATION, value)]));
        }
        let http = builder.build().map_err(|error| unreachable(server, &error))?;
        Ok(Self {
            server: server.clone(),
            http,
        })
    }

    /// The URL of a resource; each segment is escaped.
    pub fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.server.clone();
        url.set_query(None);
        url.set_fragment(None);
        // Only URLs without a host cannot have segments, and `server_url` refuses those.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(segments);
        }
        url
    }

    /// The dashboard's page of a resource.
    pub fn page(&self, section: &str, id: &str) -> String {
        let mut url = self.server.clone();
        url.set_query(None);
        url.set_fragment(Some(&format!("/{section}/{id}")));
        url.to_string()
    }

    pub fn request(&self, method: reqwest::Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Gets an object. With `wait`, the server responds when the object has reached an end state or the seconds have passed.
    pub async fn get(&self, segments: &[&str], wait: Option<u64>) -> Result<Value, Failure> {
        let mut url = self.url(segments);
        if let Some(seconds) = wait {
            url.query_pairs_mut().append_pair("wait", &seconds.to_string());
        }
        let timeout = ANSWER_TIMEOUT + Duration::from_secs(wait.unwrap_or(0));
        let request = self.request(reqwest::Method::GET, url).timeout(timeout);
        self.json(request).await
    }

    /// Sends a request whose response is JSON.
    pub async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let request = request.header(header::ACCEPT, "application/json");
        let response = self.send(request).await?;
        let body = response.bytes().await.map_err(|error| self.lost(&error))?;
        serde_json::from_slice(&body).map_err(|error| Failure::Unexpected(error.to_string()))
    }

    /// Sends a request; every response other than 2xx is a [`Failure::Refused`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.bytes().await.unwrap_or_default();
        Err(Failure::Refused(Box::new(Problem::new(
            status,
            retry_after,
            &body,
        ))))
    }

    pub fn lost(&self, error: &reqwest::Error) -> Failure {
        unreachable(&self.server, error)
    }
}

/// Parses a JSON object of the server as one of our types.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| Failure::Unexpected(error.to_string()))
}

fn unreachable(server: &Url, error: &reqwest::Error) -> Failure {
    // The outer layers say only "error sending request"; the useful message is the innermost: "Connection refused".
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let reason = if error.is_timeout() {
        "the request timed out".to_owned()
    } else {
        printable(&cause.to_string())
    };
    Failure::Unreachable {
        server: server.to_string(),
        reason,
    }
}

fn is_loopback(server: &Url) -> bool {
    let host = server.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(server: &str) -> Api {
        Api::new(&server.parse().unwrap()).unwrap()
    }

    #[test]
    fn addresses_are_escaped_and_keep_a_prefix() {
        let plain = api("http://127.0.0.1:8080");
        assert_eq!(
            plain.url(&["models", "a b/../c", "predict"]).as_str(),
            "http://127.0.0.1:8080/v1/models/a%20b%2F..%2Fc/predict"
        );
        let prefixed = api("https://host.example/finetuned/");
        assert_eq!(
            prefixed.url(&["jobs"]).as_str(),
            "https://host.example/finetuned/v1/jobs"
        );
        assert_eq!(
            prefixed.page("jobs", "job_1"),
            "https://host.example/finetuned/#/jobs/job_1"
        );
    }

    #[test]
    fn a_problem_names_every_field() {
        let body = br#"{"title":"Invalid","detail":"2 fields are wrong","request_id":"r",
            "errors":[{"pointer":"/epochs","code":"range","message":"must be \u001b[31m > 0"},{"pointer":"/optimizer/lr","code":"type","message":"must be a number"}]}"#;
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, None, body);
        let expected = "2 fields are wrong (422)\n  /epochs        must be \u{fffd}[31m > 0\n  /optimizer/lr  must be a number";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn an_answer_that_is_no_problem_is_told_by_its_status() {
        let problem = Problem::new(StatusCode::BAD_GATEWAY, None, b"<html>");
        assert_eq!(
            problem.to_string(),
            "the server responded with 502 Bad Gateway (502)"
        );
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (server, expected) in [
            ("http://localhost:1", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&server.parse().unwrap()), expected, "{server}");
        }
    }
}
