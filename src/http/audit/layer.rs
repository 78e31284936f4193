//! Around all routes: notes each request that is there to change something, when it was answered or its client has left.

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};

use super::{
    slip::Slip,
    thing::{made, named},
};
use crate::{
    domain::access::AuditRecord,
    http::{
        App,
        access::rules::{self, Found, Rule},
        connections::{Caller, Peer},
        responses::problem::REQUEST_ID,
    },
};

/// Outside of what answers, so that every refusal is seen, and of what gives a request its id.
pub async fn note(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let Some(rule) = audited(&request) else {
        return next.run(request).await;
    };
    let peer = Caller::of(request.extensions()).0;
    let mut record = AuditRecord::new(rule.method, rule.path);
    record.address = Some(peer.whole_address());
    record.thing = named(&mut request)
        .await
        .map(|(_, name)| AuditRecord::name_of_thing(&name));
    let slip = Slip::default();
    request.extensions_mut().insert(slip.clone());
    let mut noted = Noted {
        app,
        record: Some(record),
        slip,
        peer,
    };
    let response = next.run(request).await;
    noted.answered(&response);
    response
}

fn audited(request: &Request) -> Option<&'static Rule> {
    let path = request.extensions().get::<MatchedPath>()?;
    match rules::find(request.method(), path.as_str()) {
        Found::Rule(rule) if rule.changes_something() => Some(rule),
        _ => None,
    }
}

/// A record that is handed over when it is dropped: a client that leaves ends its request anywhere, and what it has changed is changed.
struct Noted {
    app: App,
    record: Option<AuditRecord>,
    slip: Slip,
    peer: Peer,
}

impl Noted {
    fn answered(&mut self, response: &Response) {
        let Some(record) = &mut self.record else { return };
        record.status = Some(response.status().as_u16());
        let id = response.headers().get(REQUEST_ID);
        record.request_id = id.and_then(|id| Some(id.to_str().ok()?.to_owned()));
        if let Some(thing) = made(response.headers()) {
            self.slip.set_thing(thing);
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.key = self.slip.key();
            record.thing = self.slip.thing().or(record.thing);
            self.app.journal().note(record, self.peer);
        }
    }
}
