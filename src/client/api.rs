//! Calls to a server: URLs, JSON requests and responses, and everything that can go wrong as one [`Failure`].

use std::{net::IpAddr, time::Duration};

use reqwest::{Certificate, RequestBuilder, Response, Url, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use super::failure::{Failure, Problem};
use super::{text::printable, trust};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A server's API.
pub struct Api {
    server: Url,
    http: reqwest::Client,
}

impl Api {
    /// A server that needs no key.
    #[cfg(test)]
    pub fn new(server: &Url) -> Result<Self, Failure> {
        Self::with(server, None, None)
    }

    /// A server, the header `Authorization` that it gets with every request, and whom a server at `https://` must be vouched for by; without
    /// them, it is those that the system trusts.
    pub fn with(
        server: &Url,
        authorization: Option<header::HeaderValue>,
        authorities: Option<Vec<Certificate>>,
    ) -> Result<Self, Failure> {
        // Fails if a provider is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
        if server.scheme() == "http" {
            // Plain HTTP must work on machines without certificates; otherwise the client insists on finding some.
            builder = builder.tls_certs_only([]);
        } else if let Some(authorities) = authorities {
            builder = builder.tls_certs_only(authorities);
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
    if let Some(failure) = trust::failure(server, error) {
        return failure;
    }
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
