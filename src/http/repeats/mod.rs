//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that is sent again, because its answer was lost, is carried out
//! once. Its answer is kept for a day and given again to the same request under the same key.
//!
//! One layer for all routes: `policy.rs` says what each `POST` does with the header, `body.rs` what makes two bodies the same. Only answers of
//! what was done are kept: a refused request has changed nothing, and a repeat of it is a new one.

mod body;
mod key;
mod policy;
mod told;

use axum::{
    body::{Body, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use tracing::Instrument;

pub use self::{
    key::{NAME, PATTERN, idempotency_key},
    policy::{Repeat, repeat_of},
};
use super::{App, access::Allowed, uploads::tus};
use crate::{
    error::{Error, Kind, Result},
    files::digest,
    store::{IdempotencyKey, KeptAnswer, mismatch},
};

/// Largest answer that is kept.
const MAX_ANSWER: u64 = 64 << 10;
/// Headers of an answer that are kept with it. The others are of the request that is being answered.
const KEPT: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::LOCATION,
    header::ETAG,
    tus::OFFSET,
    tus::EXPIRES,
    tus::DATASET,
];
/// Headers that say what a request asks for, besides its address: for another state of a thing it is another request.
const ASKING: [HeaderName; 5] = [
    header::IF_MATCH,
    tus::METHOD_OVERRIDE,
    tus::OFFSET,
    tus::LENGTH,
    tus::METADATA,
];
/// Says that an answer is that of an earlier request.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Carries a request under an `Idempotency-Key` out once.
pub async fn keep(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let repeat = route.and_then(|route| repeat_of(request.method(), route.as_str()));
    match repeat {
        Some(repeat @ (Repeat::SameAnswer | Repeat::AnswerNotKept)) => {
            let answered = answered(&app, repeat, request, next).await;
            answered.unwrap_or_else(IntoResponse::into_response)
        }
        Some(Repeat::OfItsJob | Repeat::Again) | None => next.run(request).await,
    }
}

async fn answered(app: &App, repeat: Repeat, request: Request, next: Next) -> Result<Response> {
    let allowed = request.extensions().get::<Allowed>();
    let owner = allowed.and_then(Allowed::owner);
    let Some(key) = idempotency_key(request.headers(), owner.as_ref())? else {
        return Ok(next.run(request).await);
    };
    let most = app.limits().max_idempotency_keys;
    let begun = app.store().begin_request(key.clone(), asked_for(&request), most);
    if let Some(kept) = begun.await? {
        return again(kept, request).await;
    }
    let first = First {
        app: app.clone(),
        key: Some(key),
    };
    // In a task of its own: whether the client stays or leaves, what was begun comes to its end, and its answer is there for a repeat.
    let task = tokio::spawn(first.carried_out(repeat, request, next).in_current_span());
    match task.await {
        Ok(response) => Ok(response),
        Err(fault) if fault.is_panic() => std::panic::resume_unwind(fault.into_panic()),
        Err(fault) => Err(Error::internal(fault)),
    }
}

/// Digest of what a request asks for, without its body.
fn asked_for(request: &Request) -> String {
    // Without the host, which HTTP/2 has in the address.
    let address = request
        .uri()
        .path_and_query()
        .map_or("/", |address| address.as_str());
    let mut text = format!("{} {address}", request.method());
    if let Some(kind) = request.headers().get(header::CONTENT_TYPE) {
        // Without its parameters: the boundary of a form is another one each time.
        let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or(b"");
        text.push_str(&format!("\n{}", String::from_utf8_lossy(kind).trim()));
    }
    for name in ASKING {
        for value in request.headers().get_all(&name) {
            text.push_str(&format!(
                "\n{name}: {}",
                String::from_utf8_lossy(value.as_bytes())
            ));
        }
    }
    digest::of_bytes(text.as_bytes())
}

/// The answer of the first request, if this one has the same body.
async fn again(kept: KeptAnswer, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    if body::read_like(&kept.read, body, &parts.headers).await? != kept.read {
        return Err(mismatch());
    }
    let Some(body) = kept.body else {
        return Err(not_kept(&kept.headers, kept.status));
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(kept.status).map_err(Error::internal)?;
    for (name, value) in &kept.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    let yes = HeaderValue::from_static("true");
    response.headers_mut().insert(REPLAYED, yes);
    Ok(response)
}

fn not_kept(headers: &[(String, String)], status: u16) -> Error {
    let place = headers
        .iter()
        .find(|(name, _)| name.as_str() == header::LOCATION.as_str());
    let place = place.map_or_else(|| "what it made".to_owned(), |(_, place)| format!("`{place}`"));
    let detail = format!(
        "the first request with this Idempotency-Key was carried out and answered with {status}; that answer is not kept, because it has a \
         secret or is large: look at {place}"
    );
    Error::new(Kind::Conflict, "idempotency-answer-not-kept", detail)
}

/// A request that was begun under a key. Dropped before its end, as after a panic, it is forgotten.
struct First {
    app: App,
    key: Option<IdempotencyKey>,
}

impl First {
    async fn carried_out(mut self, repeat: Repeat, request: Request, next: Next) -> Response {
        let (request, reading) = body::watched(request);
        let response = next.run(request).await;
        let Some(key) = self.key.clone() else {
            return response;
        };
        let store = self.app.store().clone();
        let (response, answer) = match response.status() {
            status if status.is_success() => {
                let (response, headers, body) = taken(response, repeat).await;
                let read = body::what_was_read(&reading);
                let status = status.as_u16();
                (
                    response,
                    Some(KeptAnswer {
                        read,
                        status,
                        headers,
                        body,
                    }),
                )
            }
            _ => (response, None),
        };
        let done = match answer {
            Some(answer) => store.keep_answer(key.clone(), answer).await,
            None => store.forget_request(key.clone()).await,
        };
        match done {
            Ok(()) => self.key = None,
            // It is forgotten below: what was asked for is done, and saying otherwise would be wrong.
            Err(error) => {
                tracing::error!(%error, "cannot keep the answer of a request under an Idempotency-Key")
            }
        }
        response
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let (Some(key), Ok(runtime)) = (self.key.take(), tokio::runtime::Handle::try_current()) {
            let store = self.app.store().clone();
            runtime.spawn(async move {
                if let Err(error) = store.forget_request(key).await {
                    tracing::error!(%error, "cannot forget a request under an Idempotency-Key; the next start does");
                }
            });
        }
    }
}

/// The response, and what of it is kept.
async fn taken(response: Response, repeat: Repeat) -> (Response, Vec<(String, String)>, Option<Vec<u8>>) {
    let headers = kept_headers(response.headers());
    let is_small = response
        .body()
        .size_hint()
        .upper()
        .is_some_and(|bytes| bytes <= MAX_ANSWER);
    if repeat == Repeat::AnswerNotKept || !is_small {
        return (response, headers, None);
    }
    let (parts, body) = response.into_parts();
    // It is in memory already: nothing else knows its size.
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let kept = bytes.to_vec();
    (
        Response::from_parts(parts, Body::from(bytes)),
        headers,
        Some(kept),
    )
}

fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = KEPT.into_iter().filter_map(|name| {
        let value = headers.get(&name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    kept.collect()
}
