//! Errors in HTTP: `application/problem+json` (RFC 9457). The only place where an error is mapped to a status.
//!
//! A handler returns [`Error`]; [`finish`] writes the body, because only it knows the request id, and logs the error once.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::{Instrument, debug, error, field::Empty, info, info_span};
use utoipa::{IntoResponses, ToSchema};
use uuid::Uuid;

use super::refusals;
use crate::{
    domain::access::Secret,
    error::{Error, FieldError, Kind},
    http::requests::trace,
};

/// The header with the id of a request.
pub const REQUEST_ID: &str = "x-request-id";
/// How many requests a key has left, and how many it may make (draft-ietf-httpapi-ratelimit-headers). Errors have them, too.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A problem (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// `urn:finetuned:problem:<slug>`: stable, for programs.
    #[serde(rename = "type")]
    #[schema(example = "urn:finetuned:problem:not-found")]
    pub kind: String,
    pub title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// Human-readable explanation of this error.
    pub detail: String,
    /// Id of the request, which is also in the server's log.
    pub request_id: String,
    /// All invalid fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Copy of `detail`, only under `/v2` and for `:predict`: these protocols require this member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The error responses that any endpoint may return.
pub struct Problems;

impl IntoResponses for Problems {
    fn responses()
    -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::response::Response>> {
        use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let response = ResponseBuilder::new()
            .description("Problem details (RFC 9457)")
            .content("application/problem+json", content)
            .build();
        [("default".to_owned(), response.into())].into()
    }
}

/// Attached to a response until [`finish`] writes it.
#[derive(Clone)]
struct Pending(Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = status(self.kind()).into_response();
        response.extensions_mut().insert(Pending(Arc::new(self)));
        response
    }
}

/// The status of each kind of error.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Malformed => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Gone => StatusCode::GONE,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Precondition => StatusCode::PRECONDITION_FAILED,
        Kind::Locked => StatusCode::LOCKED,
        Kind::UnspokenVersion => StatusCode::PRECONDITION_FAILED,
        // Defined by tus, not in the IANA registry of statuses.
        Kind::ChecksumMismatch => StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST),
        Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::BeyondEnd => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        // Not 503: it is permanent, and a retry would not help.
        Kind::Internal | Kind::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
    }
}

/// The outermost middleware except the panic handler: assigns a request id, writes errors as problems, and logs each once, except for
/// floods of refusals ([`refusals`]).
pub async fn finish(request: Request, next: Next) -> Response {
    let request_id = request_id(&request);
    let of_other_protocol = has_error_member(request.uri().path());
    let method = request.method().clone();
    // Somebody may take a key for a name.
    let path = Secret::hidden_in(request.uri().path()).into_owned();
    let span = info_span!("request", %request_id, %method, path = %path.escape_debug(), trace_id = Empty);
    if let Some(trace) = trace::parent(request.headers()) {
        span.record("trace_id", trace.trace_id());
    }
    let begun = Instant::now();
    async move {
        let response = next.run(request).await;
        let mut response = written_out(response, &request_id, of_other_protocol);
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let status = response.status();
        let refused = status == StatusCode::TOO_MANY_REQUESTS;
        refusals::note(refused);
        let (status, milliseconds) = (status.as_u16(), begun.elapsed().as_millis() as u64);
        if refused || matches!(path.as_str(), "/healthz" | "/readyz") {
            debug!(status, milliseconds, "answered");
        } else {
            info!(status, milliseconds, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

/// Whether errors of this path have a member `error`: in the Open Inference Protocol, and in TensorFlow Serving's.
fn has_error_member(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/") || path.ends_with(":predict")
}

/// The client's request id if it is harmless, otherwise a new one.
fn request_id(request: &Request) -> String {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given
        .filter(harmless)
        .map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

fn written_out(response: Response, request_id: &str, of_other_protocol: bool) -> Response {
    if let Some(Pending(error)) = response.extensions().get::<Pending>() {
        log(error);
        let problem = Problem {
            kind: format!("urn:finetuned:problem:{}", error.slug()),
            title: title(response.status(), error.slug()),
            status: response.status().as_u16(),
            detail: error.detail().to_owned(),
            request_id: request_id.to_owned(),
            errors: error.errors().to_vec(),
            error: of_other_protocol.then(|| error.detail().to_owned()),
        };
        let mut answer = with_body(
            response.status(),
            problem,
            error.retry_delay().map(|delay| delay.as_secs().max(1)),
        );
        keep(&response, &mut answer);
        return answer;
    }
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/problem+json");
    if (status.is_client_error() || status.is_server_error()) && !is_problem {
        return plain(response, request_id, of_other_protocol);
    }
    response
}

/// The problem for an error response of the router or a library.
fn plain(response: Response, request_id: &str, of_other_protocol: bool) -> Response {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or("Error");
    let detail = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            "this path does not support this method; the header `Allow` lists the supported ones"
        }
        StatusCode::FORBIDDEN => {
            "requests from pages of other addresses are not allowed; behind a proxy, let it pass the `Host` header on as it came \
            (nginx: `proxy_set_header Host $http_host`)"
        }
        StatusCode::INTERNAL_SERVER_ERROR => {
            "an internal error occurred; the server's log has the details under this request id"
        }
        _ => "the request was refused",
    };
    let problem = Problem {
        kind: format!(
            "urn:finetuned:problem:{}",
            reason.to_lowercase().replace(' ', "-")
        ),
        title: reason.to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        request_id: request_id.to_owned(),
        errors: Vec::new(),
        error: of_other_protocol.then(|| detail.to_owned()),
    };
    let mut answer = with_body(status, problem, None);
    keep(&response, &mut answer);
    answer
}

/// What an error says in headers of its own.
fn keep(response: &Response, answer: &mut Response) {
    for name in [
        header::ALLOW,
        header::CONTENT_RANGE,
        header::ACCEPT_ENCODING,
        header::WWW_AUTHENTICATE,
        RATE_LIMIT,
        RATE_LIMIT_POLICY,
    ] {
        if let Some(value) = response.headers().get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
}

fn with_body(status: StatusCode, problem: Problem, retry_after_seconds: Option<u64>) -> Response {
    let mut response = (status, Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Some(seconds) = retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The slug as words: `name-taken` → `Name taken`.
fn title(status: StatusCode, slug: &str) -> String {
    let words = slug.replace('-', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => status.canonical_reason().unwrap_or("Error").to_owned(),
    }
}

fn log(error: &Error) {
    match (error.kind(), error.context()) {
        (Kind::Internal, Some(context)) => error!("{context:#}"),
        (Kind::Damaged, Some(context)) => error!("{}: {context:#}", error.detail()),
        (Kind::Damaged, None) => error!("{}", error.detail()),
        (Kind::Internal, None) => error!("{error}"),
        (_, Some(context)) => info!(slug = error.slug(), detail = error.detail(), "{context:#}"),
        (_, None) => info!(slug = error.slug(), detail = error.detail(), "refused"),
    }
}
