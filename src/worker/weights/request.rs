//! One request to a hub or a registry: redirects are followed here, the token is only sent to the hub itself, the hub's metadata of the file is kept.
//!
//! Hugging Face redirects to its storage, and only that first response (not the storage's) has the size and the SHA-256 of the file:
//! `X-Linked-Size`, `X-Linked-ETag`. That is why redirects are not left to the HTTP library.

use std::fs;

use reqwest::{
    Certificate, Proxy, StatusCode, Url,
    blocking::{Client, Response},
    header::{self, HeaderMap},
    redirect::Policy,
};

use super::{cache::PartialMetadata, fault::HubFault, loading::Patience};
use crate::{
    files::digest,
    protocol::{HubSource, RegistryAccess},
};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// A hub to request files from.
pub(super) struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<String>,
    accept: &'static str,
}

/// The hub's metadata of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FileHeaders {
    pub sha256: Option<String>,
    pub bytes: Option<u64>,
}

/// A response that is not a redirect, of any status.
pub(super) struct Answer {
    pub response: Response,
    pub told: FileHeaders,
}

/// Why there is no response.
pub(super) enum RequestFault {
    /// Retrying would not help.
    Final(HubFault),
    /// It might.
    Transient(String),
}

impl Hub {
    pub fn new(source: &HubSource, patience: &Patience) -> Result<Self, HubFault> {
        let endpoint = http_address(&source.endpoint, "the hub's")?;
        let client = client(&endpoint, patience, None)?;
        Ok(Self {
            client,
            endpoint,
            token: source.token.clone(),
            accept: "*/*",
        })
    }

    /// A registry of Python packages; its pages are preferred in JSON (PEP 691).
    pub fn of_registry(access: &RegistryAccess, patience: &Patience) -> Result<Self, HubFault> {
        let endpoint = http_address(&access.index, "the registry's")?;
        let client = client(&endpoint, patience, Some(access))?;
        Ok(Self {
            client,
            endpoint,
            token: None,
            accept: "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1",
        })
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The page of a package in a simple index (PEP 503).
    pub fn page(&self, package: &str) -> Result<Url, HubFault> {
        let base = self.endpoint.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{package}/"))
            .map_err(|fault| HubFault::Misnamed(format!("its address cannot be written ({fault})")))
    }

    /// An address that the hub's own page names, with the user name and the password of the hub if it is on the hub itself.
    pub fn linked(&self, from: &Url, link: &str) -> Option<Url> {
        let mut url = from.join(link).ok()?;
        if self.is_own(&url) && url.username().is_empty() {
            url.set_username(self.endpoint.username()).ok()?;
            url.set_password(self.endpoint.password()).ok()?;
        }
        matches!(url.scheme(), "http" | "https").then_some(url)
    }

    /// The URL of a file in a repository.
    pub fn address(&self, repository: &str, revision: &str, file: &str) -> Result<Url, HubFault> {
        let base = self.endpoint.as_str().trim_end_matches('/');
        let revision = revision.replace('/', "%2F");
        Url::parse(&format!("{base}/{repository}/resolve/{revision}/{file}"))
            .map_err(|fault| HubFault::Misnamed(format!("its address cannot be written ({fault})")))
    }

    /// Requests a file, or the rest of it if `after` says how many bytes of which file are there.
    pub fn ask(&self, address: &Url, after: Option<&(u64, PartialMetadata)>) -> Result<Answer, RequestFault> {
        let mut url = address.clone();
        let mut told = FileHeaders::default();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&url, after)?;
            if self.is_own(&url) {
                told.add(response.headers(), response.status().is_redirection());
            }
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok(Answer { response, told });
            }
            url = next(&url, response.headers()).map_err(RequestFault::Final)?;
        }
        let message = format!("more than {MAX_REDIRECTS} times");
        Err(RequestFault::Final(HubFault::Redirect(message)))
    }

    fn send(&self, url: &Url, after: Option<&(u64, PartialMetadata)>) -> Result<Response, RequestFault> {
        let mut request = self
            .client
            .get(url.clone())
            .header(header::ACCEPT, self.accept)
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(token) = self.token.as_ref().filter(|_| self.is_own(url)) {
            request = request.bearer_auth(token);
        }
        if let Some((length, note)) = after {
            request = request.header(header::RANGE, format!("bytes={length}-"));
            if let Some(validator) = &note.validator {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        request.send().map_err(|fault| {
            // An unreachable host should be reported at once; anything later may be temporary.
            let unreachable = fault.is_connect() || fault.is_builder();
            let reason = reason(fault);
            if unreachable {
                RequestFault::Final(HubFault::Unreachable(reason))
            } else {
                RequestFault::Transient(reason)
            }
        })
    }

    /// Whether a URL is the hub's own: the token goes nowhere else, and nobody else is trusted about the file.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }
}

impl FileHeaders {
    fn add(&mut self, headers: &HeaderMap, redirects: bool) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let linked = text("x-linked-etag");
        let tag = linked.or_else(|| if redirects { None } else { text("etag") });
        let digest = tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
        if let Some(digest) = digest.filter(|digest| digest::is_digest(digest)) {
            self.sha256 = Some(digest.to_owned());
        }
        if let Some(bytes) = text("x-linked-size").and_then(|size| size.parse().ok()) {
            self.bytes = Some(bytes);
        }
    }
}

/// The entity tag of a response if it is a strong one: only those may be used in `If-Range` (RFC 9110, 13.1.5).
pub(super) fn strong_validator(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(header::ETAG)?.to_str().ok()?;
    (tag.starts_with('"') && tag.len() > 2).then(|| tag.to_owned())
}

/// The offset of a response's bytes, from `Content-Range: bytes 100-199/200`, and the length of the whole.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, whole.trim().parse().ok()))
}

/// Host and port of a URL, for people.
pub(super) fn host_of(endpoint: &str) -> String {
    let url = Url::parse(endpoint).ok();
    let host = url.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(
            url.port()
                .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
        )
    });
    host.unwrap_or_else(|| "the hub".to_owned())
}

fn http_address(text: &str, whose: &str) -> Result<Url, HubFault> {
    Url::parse(text.trim_end_matches('/'))
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| HubFault::Misnamed(format!("{whose} address is no http or https address")))
}

fn client(endpoint: &Url, patience: &Patience, access: Option<&RegistryAccess>) -> Result<Client, HubFault> {
    // This fails if it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates = match access.and_then(|access| access.certificates.as_ref()) {
        None => Vec::new(),
        Some(path) => {
            let wrong = |why: String| {
                HubFault::Misnamed(format!("pip's file of certificates cannot be read ({why})"))
            };
            let pem = fs::read(path).map_err(|fault| wrong(fault.to_string()))?;
            Certificate::from_pem_bundle(&pem).map_err(|fault| wrong(reason(fault)))?
        }
    };
    let proxy = match access.and_then(|access| access.proxy.as_deref()) {
        None => None,
        Some(address) => {
            let proxy = Proxy::all(address);
            Some(proxy.map_err(|fault| {
                HubFault::Misnamed(format!("pip's proxy is no address ({})", reason(fault)))
            })?)
        }
    };
    let loopback = matches!(endpoint.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("finetuned/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(patience.connect)
            .timeout(patience.read);
        let builder = builder.tls_certs_merge(certificates.iter().cloned());
        match &proxy {
            _ if loopback => builder.no_proxy(),
            Some(proxy) => builder.proxy(proxy.clone()),
            None => builder,
        }
    };
    let built = match builder().build() {
        // A host without certificate authorities can still use its own hub over plain http.
        Err(_) if endpoint.scheme() == "http" => builder().tls_certs_only([]).build(),
        built => built,
    };
    built.map_err(|fault| HubFault::Unreachable(reason(fault)))
}

fn next(from: &Url, headers: &HeaderMap) -> Result<Url, HubFault> {
    let location = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let url = location.and_then(|location| from.join(location).ok());
    let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return Err(HubFault::Redirect("without an address".into()));
    };
    if from.scheme() == "https" && url.scheme() == "http" {
        return Err(HubFault::Redirect("from https to http".into()));
    }
    Ok(url)
}

/// The innermost cause, which is the informative one, without the URL: those of storage contain signatures.
pub(super) fn reason(fault: reqwest::Error) -> String {
    if fault.is_timeout() {
        return "no answer in time".to_owned();
    }
    let fault = fault.without_url();
    let mut cause: &dyn std::error::Error = &fault;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
