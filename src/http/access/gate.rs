//! The one layer around all routes that decides who is let in. Whoever adds a route adds its row to the table ([`rules`]): without one the
//! route answers as if it were not there.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    allowed::Allowed,
    challenge::{HeldBack, Refusal},
    credentials::identify,
    quota::Spent,
    reach,
    rules::{self, Found, Need, Rule},
};
use crate::http::{
    App,
    audit::{Slip, id_of},
    connections::Caller,
};

pub async fn admit(State(app): State<App>, request: Request, next: Next) -> Response {
    let peer = Caller::of(request.extensions()).0;
    let response = decide(&app, request, next).await;
    if response.extensions().get::<HeldBack>().is_some() {
        let pause = app.tries().hold_back(peer, Instant::now());
        if pause > Duration::ZERO {
            tokio::time::sleep(pause).await;
        }
    }
    response
}

async fn decide(app: &App, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let found = route.map(|route| rules::find_at(request.method(), route.as_str(), request.uri().path()));
    if let Some(Found::Rule(rule)) = &found
        && rule.need == Need::Nothing
    {
        return next.run(request).await;
    }
    let allowed = match app.keyring().is_needed() {
        false => Allowed::Everything,
        true => match identify(app, &request) {
            Ok(held) => Allowed::ByKey(held),
            Err(refusal) => return refusal.into_response(),
        },
    };
    let slip = request.extensions().get::<Slip>().cloned();
    if let Some(slip) = &slip {
        slip.set_key(allowed.owner());
    }
    // Before anything that costs more than this.
    let spent = allowed.spend(Instant::now());
    let mut response = match spent.as_ref().and_then(Spent::refusal) {
        Some(refused) => refused.into_response(),
        None => let_through(app, allowed, found, slip, request, next).await,
    };
    if let Some(spent) = spent {
        spent.tell(response.headers_mut());
    }
    response
}

/// Somebody is known: what the table says of the request.
async fn let_through(
    app: &App,
    allowed: Allowed,
    found: Option<Found>,
    slip: Option<Slip>,
    mut request: Request,
    next: Next,
) -> Response {
    match found {
        // The router itself says that there is nothing.
        None => {}
        Some(Found::OtherMethods(methods)) => {
            return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, methods)]).into_response();
        }
        Some(Found::Rule(rule)) => {
            if let Some(refused) = refused(app, &allowed, rule, &mut request).await {
                return refused;
            }
        }
    }
    if let Some(slip) = slip
        && let Some(thing) = id_of(app, &mut request).await
    {
        slip.set_thing(thing);
    }
    request.extensions_mut().insert(allowed);
    next.run(request).await
}

/// Why somebody who is known may not do this, if so.
async fn refused(app: &App, allowed: &Allowed, rule: &Rule, request: &mut Request) -> Option<Response> {
    let key = allowed.key()?;
    if let Need::OneOf(scopes) = rule.need
        && !scopes.iter().any(|scope| key.may(*scope))
    {
        return Some(Refusal::Scope(scopes).into_response());
    }
    let within = reach::check(app, key, rule.reach, request).await;
    within.err().map(IntoResponse::into_response)
}
