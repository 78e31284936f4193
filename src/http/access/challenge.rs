//! Why somebody is not let in, as a response: 401 with `WWW-Authenticate` (RFC 6750), 403, or 429 after too many tries.
//!
//! A key that was revoked or has expired is called so to whoever sends all of it. Anything else that looks like a key is unknown.

use std::time::Duration;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::{
    domain::access::{InvalidSecret, Scope},
    error::{Error, Kind},
};

/// On a response that tells an address to wait: [`gate`](super::gate) holds it back.
#[derive(Clone, Copy)]
pub struct HeldBack;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Neither a key nor a session.
    Missing,
    /// What was sent is no key.
    Malformed(InvalidSecret),
    Unknown,
    Expired,
    Revoked,
    /// The browser's session has ended.
    NoSession,
    /// The request of a browser that would change something does not say which page makes it.
    WithoutOrigin,
    /// None of these scopes.
    Scope(&'static [Scope]),
    /// Too many failed tries; the next one is looked at after this time.
    Slowed(Duration),
}

impl Refusal {
    /// Whether somebody may be trying keys: those that are known are no guesses.
    pub fn is_guess(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::Unknown | Self::NoSession)
    }

    fn error(&self) -> Error {
        let unauthenticated = |slug, detail: &str| Error::new(Kind::Unauthenticated, slug, detail.to_owned());
        match self {
            Self::Missing => unauthenticated(
                "key-missing",
                "this server needs a key: send it as `Authorization: Bearer ft_…`, or log in on the dashboard",
            ),
            Self::Malformed(fault) => Error::new(Kind::Unauthenticated, "key-malformed", fault.to_string()),
            Self::Unknown => unauthenticated("key-unknown", "there is no such key on this server"),
            Self::Expired => unauthenticated("key-expired", "the key has expired; ask for another one"),
            Self::Revoked => unauthenticated("key-revoked", "the key was revoked; ask for another one"),
            Self::NoSession => unauthenticated("session-ended", "the session has ended; log in again"),
            Self::WithoutOrigin => Error::new(
                Kind::Forbidden,
                "origin-missing",
                "a session changes something only from the dashboard's own pages; scripts send a key as `Authorization: Bearer ft_…`",
            ),
            Self::Scope(needed) => Error::new(
                Kind::Forbidden,
                "scope-missing",
                format!("the key has not the scope {}", words(needed, " or ")),
            ),
            Self::Slowed(wait) => Error::new(
                Kind::TooMany,
                "too-many-tries",
                "too many requests with wrong keys came from this address; wait before the next one",
            )
            .retry_after(*wait),
        }
    }

    fn challenge(&self) -> Option<String> {
        let realm = "Bearer realm=\"finetuned\"";
        match self {
            Self::Missing => Some(realm.to_owned()),
            Self::Scope(needed) => {
                let scope = needed.first().map_or("", |scope| scope.as_str());
                Some(format!(
                    "{realm}, error=\"insufficient_scope\", scope=\"{scope}\""
                ))
            }
            Self::WithoutOrigin | Self::Slowed(_) => None,
            _ => Some(format!("{realm}, error=\"invalid_token\"")),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.error().into_response();
        if let Some(challenge) = self.challenge()
            && let Ok(challenge) = HeaderValue::from_str(&challenge)
        {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if matches!(self, Self::Slowed(_)) {
            response.extensions_mut().insert(HeldBack);
        }
        response
    }
}

fn words(scopes: &[Scope], between: &str) -> String {
    let words: Vec<String> = scopes
        .iter()
        .map(|scope| format!("`{}`", scope.as_str()))
        .collect();
    words.join(between)
}
