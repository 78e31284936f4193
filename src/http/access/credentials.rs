//! Who a request comes from: the key in its header `Authorization`, or the session of a browser that logged in with one.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::Request,
    http::{HeaderMap, Method, header},
};

use super::{challenge::Refusal, keyring::HeldKey};
use crate::{
    domain::{
        access::{InvalidSecret, KeyState, Secret},
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
    let held = match bearer(headers)? {
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

/// What the header `Authorization: Bearer` says. Another scheme is a matter of the proxy in front.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let malformed = || Refusal::Malformed(InvalidSecret::Form);
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed());
    }
    let text = value.to_str().map_err(|_| malformed())?.trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start()))
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

/// The values of the cookies of this name.
pub fn cookies<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let jars = headers.get_all(header::COOKIE).iter();
    let pairs = jars.flat_map(|jar| jar.to_str().unwrap_or("").split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: header::HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_key_is_a_bearer_token_and_other_schemes_are_the_proxys() {
        let of = |values: &[&'static str]| {
            let headers = headers(header::AUTHORIZATION, values);
            bearer(&headers).map(|token| token.map(str::to_owned))
        };
        assert_eq!(of(&["Bearer ft_1"]), Ok(Some("ft_1".to_owned())));
        assert_eq!(of(&["bearer   ft_1 "]), Ok(Some("ft_1".to_owned())));
        assert_eq!(of(&["Bearer"]), Ok(Some(String::new())));
        assert_eq!(of(&["Basic YTpi"]), Ok(None));
        assert_eq!(of(&[]), Ok(None));
        let malformed = Err(Refusal::Malformed(InvalidSecret::Form));
        assert_eq!(of(&["Bearer ft_1", "Bearer ft_2"]), malformed);
    }

    #[test]
    fn cookies_of_a_name_are_found_among_others() {
        let headers = headers(
            header::COOKIE,
            &["a=1; session=x", "session=y;b=2; sessions=z; session"],
        );
        let found: Vec<&str> = cookies(&headers, "session").collect();
        assert_eq!(found, ["x", "y"]);
    }
}
