//! Requests by route, method and status, and how long they took until their response began.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::http::{
    App,
    access::rules::{self, Found, Rule},
};

/// Upper ends of the histogram's buckets, in seconds: from a cached answer to a wait for the end of a job.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];
/// For what is no route.
const NONE: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    method: &'static str,
    status: u32,
}

#[derive(Debug)]
pub struct Requests {
    answered: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            answered: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        }
    }
}

impl Requests {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests, by the template of their path, their method and the status of their response";
        registry.register("requests", help, self.answered.clone());
        let help = "Time until the response begins, by route and method";
        registry.register_with_unit("request_duration", help, Unit::Seconds, self.seconds.clone());
    }
}

/// Around everything that makes a response what it is.
pub async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = route(&request);
    let begun = Instant::now();
    let response = next.run(request).await;
    let requests = &app.metrics().requests;
    let answered = Answered {
        route: route.route,
        method: route.method,
        status: u32::from(response.status().as_u16()),
    };
    requests.answered.get_or_create(&answered).inc();
    requests
        .seconds
        .get_or_create(&route)
        .observe(begun.elapsed().as_secs_f64());
    response
}

/// As the table has it: what callers make up gets no label of its own.
fn route(request: &Request) -> Route {
    match rule(request) {
        Some(rule) => Route {
            route: rule.path,
            method: rule.method,
        },
        None => Route {
            route: NONE,
            method: NONE,
        },
    }
}

/// The template of a request's path; none for what is no route.
pub fn route_of(request: &Request) -> Option<&'static str> {
    rule(request).map(|rule| rule.path)
}

fn rule(request: &Request) -> Option<&'static Rule> {
    let path = request.extensions().get::<MatchedPath>();
    match path.map(|path| rules::find(request.method(), path.as_str())) {
        Some(Found::Rule(rule)) => Some(rule),
        _ => None,
    }
}
