//! `/v1/session`: a browser logs in with a key and gets a cookie, which is not the key and which no script can read.

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    challenge::Refusal,
    credentials::{self, cookie_name, identify},
    presented::cookies,
    sessions::LIFE_SECONDS,
};
use crate::{
    domain::{access::Key, time::Timestamp},
    error::{Error, FieldError, Result},
    http::{
        App,
        audit::Slip,
        connections::Caller,
        requests::{extract::read_body, json, outside::Outside},
        responses::problem::Problems,
    },
};

/// Largest body of a login.
const LARGEST: usize = 4096;

/// Who is logged in.
#[derive(Serialize, ToSchema)]
pub struct Session {
    /// Always `session`.
    #[schema(example = "session")]
    object: &'static str,
    /// Whether requests need a key.
    needs_key: bool,
    /// The key of this request, or of this browser's session; null: none.
    key: Option<Key>,
}

/// A key to log in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct Login {
    #[schema(example = "ft_…")]
    key: String,
}

/// Whether a key is needed, and who is logged in
#[utoipa::path(get, path = "/v1/session", tag = "keys", responses((status = 200, body = Session), Problems))]
pub async fn get(State(app): State<App>, request: Request) -> Result<Response> {
    let needs_key = app.keyring().is_needed();
    let key = match needs_key.then(|| identify(&app, &request)) {
        Some(Ok(held)) => Some(held.key.clone()),
        // A key that is wrong is told so; a browser that is not logged in has asked whether it is.
        Some(Err(refusal @ (Refusal::Slowed(_) | Refusal::Malformed(_) | Refusal::Unknown))) => {
            return Ok(refusal.into_response());
        }
        _ => None,
    };
    Ok(Json(Session {
        object: "session",
        needs_key,
        key,
    })
    .into_response())
}

/// Log in with a key
///
/// For browsers: the response sets a cookie that scripts cannot read. It lasts a week, until `DELETE`, until its key is revoked or expires, or
/// until the server restarts. With the cookie, what changes something needs an `Origin` (or `Sec-Fetch-Site`) of the server's own pages.
#[utoipa::path(
    post, path = "/v1/session", tag = "keys", request_body = Login,
    responses((status = 200, body = Session, headers(("set-cookie" = String))), Problems)
)]
pub async fn log_in(State(app): State<App>, request: Request) -> Result<Response> {
    let slip = request.extensions().get::<Slip>().cloned();
    let outside = request.extensions().get::<Outside>().cloned().unwrap_or_default();
    let peer = Caller::of(request.extensions()).0;
    let body = read_body(request.into_body(), LARGEST).await?;
    let text = key_in(&json::parse_set(&body)?)?;
    let now = std::time::Instant::now();
    if let Some(wait) = app.tries().wait(peer, now) {
        return Ok(Refusal::Slowed(wait).into_response());
    }
    let held = match credentials::of_text(&app, text.trim()) {
        Ok(held) => held,
        Err(refusal) => {
            if refusal.is_guess() {
                app.tries().failed(peer, now);
            }
            return Ok(refusal.into_response());
        }
    };
    held.used(peer, Timestamp::now());
    if let Some(slip) = slip {
        slip.set_key(Some(held.key.holder()));
    }
    let value = app.sessions().begin(held.key.id, Timestamp::now())?;
    let session = Session {
        object: "session",
        needs_key: true,
        key: Some(held.key.clone()),
    };
    let cookie = cookie(&app, &outside, &value, LIFE_SECONDS)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(session)).into_response())
}

/// Log out
#[utoipa::path(
    delete, path = "/v1/session", tag = "keys",
    responses((status = 204, headers(("set-cookie" = String))), Problems)
)]
pub async fn log_out(
    State(app): State<App>,
    outside: Option<Extension<Outside>>,
    headers: HeaderMap,
) -> Result<Response> {
    let outside = outside.map(|Extension(outside)| outside).unwrap_or_default();
    let name = cookie_name(&app);
    for value in cookies(&headers, &name) {
        app.sessions().end(value);
    }
    let cookie = cookie(&app, &outside, "", 0)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

fn key_in(body: &serde_json::Value) -> Result<String> {
    let fields = body.as_object();
    let text = fields.and_then(|fields| fields.get("key")?.as_str());
    match text {
        Some(text) if fields.is_some_and(|fields| fields.len() == 1) => Ok(text.to_owned()),
        _ => {
            let fault = FieldError::new("/key", "missing", "send the key alone: `{\"key\": \"ft_…\"}`");
            Err(Error::fields("the login is invalid", vec![fault]))
        }
    }
}

/// `Secure` where the browser speaks TLS, with this server or with a trusted proxy.
fn cookie(app: &App, outside: &Outside, value: &str, seconds: i64) -> Result<HeaderValue> {
    let text = format!(
        "{}={value}; Path={}/; Max-Age={seconds}; HttpOnly; SameSite=Strict{}",
        cookie_name(app),
        outside.prefix.as_deref().unwrap_or_default(),
        if outside.is_https { "; Secure" } else { "" }
    );
    let mut cookie = HeaderValue::from_str(&text).map_err(Error::internal)?;
    cookie.set_sensitive(true);
    Ok(cookie)
}
