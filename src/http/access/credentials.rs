//! Who a request comes from: the key in its header `Authorization`, or the session of a browser that logged in with one.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::Request,
    http::{HeaderMap, Method, header},
};

use super::{
    challenge::Refusal,
    keyring::HeldKey,
    presented::{bearer, cookies},
};
use crate::{
    domain::{
        access::{KeyState, Secret},
        time::Timestamp,
    },
    http::{App, connections::Caller},
};

/// The good key that a request comes with. Failed tries of its address are counted, and wait when they are too many; a key that this address
/// has used before is let in nevertheless.
///
/// # Errors
/// Why it is not let in.
pub fn identify(app: &App, request: &Request) -> Result<Arc<HeldKey>, Refusal> {
    let headers = request.headers();
    let peer = Caller::of(request.extensions()).0;
    let (now, tries) = (Instant::now(), app.tries());
    let wait = tries.wait(peer, now);
    match (look(app, request.method(), headers), wait) {
        (Ok(held), None) => {
            held.used(peer, Timestamp::now());
            Ok(held)
        }
        (Ok(held), Some(_)) if held.is_familiar(peer) => {
            held.used(peer, Timestamp::now());
            Ok(held)
        }
        (Err(refusal), _) if !refusal.is_guess() => Err(refusal),
        (_, Some(wait)) => Err(Refusal::Slowed(wait)),
        (Err(refusal), None) => {
            tries.failed(peer, now);
            Err(refusal)
        }
    }
}

fn look(app: &App, method: &Method, headers: &HeaderMap) -> Result<Arc<HeldKey>, Refusal> {
    let held = match bearer(headers).map_err(Refusal::Malformed)? {
        Some(text) => of_secret(app, text)?,
        None => of_session(app, method, headers)?,
    };
    good(held)
}

/// The good key with this text.
///
/// # Errors
/// It is none, or no longer good.
pub fn of_text(app: &App, text: &str) -> Result<Arc<HeldKey>, Refusal> {
    good(of_secret(app, text)?)
}

fn of_secret(app: &App, text: &str) -> Result<Arc<HeldKey>, Refusal> {
    let secret = Secret::parse(text).map_err(Refusal::Malformed)?;
    app.keyring().find(&secret).ok_or(Refusal::Unknown)
}

fn good(held: Arc<HeldKey>) -> Result<Arc<HeldKey>, Refusal> {
    match held.key.state(Timestamp::now()) {
        KeyState::Good => Ok(held),
        KeyState::Expired => Err(Refusal::Expired),
        KeyState::Revoked => Err(Refusal::Revoked),
    }
}

fn of_session(app: &App, method: &Method, headers: &HeaderMap) -> Result<Arc<HeldKey>, Refusal> {
    let (name, now) = (cookie_name(app), Timestamp::now());
    let values: Vec<&str> = cookies(headers, &name).collect();
    if values.is_empty() {
        return Err(Refusal::Missing);
    }
    let key = values.iter().find_map(|value| app.sessions().find(value, now));
    let held = key
        .and_then(|key| app.keyring().of_id(key))
        .ok_or(Refusal::NoSession)?;
    // Where these are, they were compared with the server's own address before; browsers send one of them with whatever changes something.
    let says_where = [header::ORIGIN.as_str(), "sec-fetch-site"]
        .iter()
        .any(|name| headers.get(*name).is_some_and(|value| !value.is_empty()));
    let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    match is_safe || says_where {
        true => Ok(held),
        false => Err(Refusal::WithoutOrigin),
    }
}

/// The name of the cookie: browsers keep one jar for all servers of a host, whatever their ports.
pub fn cookie_name(app: &App) -> String {
    format!("finetuned_session_{}", app.config().listen.port())
}
