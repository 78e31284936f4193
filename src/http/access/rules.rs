//! What each route needs: a row for each method and template of a path. There is no default.

use std::{collections::HashMap, sync::LazyLock};

use axum::http::Method;

use crate::domain::access::Scope;

/// What a request needs to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the answer says nothing of what is stored.
    Nothing,
    /// A key with one of these scopes.
    OneOf(&'static [Scope]),
}

/// What a route reaches, for keys that are limited to named datasets or models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No dataset, job or model.
    Nothing,
    /// The dataset in the address.
    Dataset,
    /// The model in the address.
    Model,
    /// The alias in the address.
    Alias,
    /// The job in the address, with its dataset and its model.
    Job,
    /// What the request names: its handler looks.
    Named,
    /// Any dataset.
    Datasets,
    /// Any model.
    Models,
    /// Anything.
    Everything,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub method: &'static str,
    /// As the router has it.
    pub path: &'static str,
    pub need: Need,
    pub reach: Reach,
}

impl Rule {
    /// Whether it is there to change something: what it does is in the audit log, and so is who logs in.
    pub fn changes_something(&self) -> bool {
        let writes = |scope: &Scope| matches!(scope, Scope::Write | Scope::Admin);
        let may_write = match self.need {
            Need::Nothing => self.path == "/v1/session",
            Need::OneOf(scopes) => scopes.iter().all(writes),
        };
        may_write && !matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }
}

/// What the table says of a request.
#[derive(Clone, Debug)]
pub enum Found {
    Rule(&'static Rule),
    /// There are rows for this path, for these methods only.
    OtherMethods(String),
}

/// The row for a method and a template of a path. `HEAD` is what `GET` is, unless it has a row of its own.
pub fn find(method: &Method, path: &str) -> Found {
    static BY_PATH: LazyLock<HashMap<&str, Vec<&Rule>>> = LazyLock::new(|| {
        let mut by_path = HashMap::<&str, Vec<&Rule>>::new();
        for rule in RULES {
            by_path.entry(rule.path).or_default().push(rule);
        }
        by_path
    });
    let rules = BY_PATH.get(path).map_or(&[][..], Vec::as_slice);
    let of = |method: &str| rules.iter().find(|rule| rule.method == method);
    let found = of(method.as_str()).or_else(|| (method == Method::HEAD).then(|| of("GET")).flatten());
    match found {
        Some(rule) => Found::Rule(rule),
        None => Found::OtherMethods(methods(rules)),
    }
}

/// The same for an address: of the routes that share theirs with a verb, `…:predict`, those that are meant.
pub fn find_at(method: &Method, path: &str, address: &str) -> Found {
    if !WITH_VERBS.contains(&path) {
        return find(method, path);
    }
    let is_verb = address.ends_with(":predict");
    match find(method, path) {
        Found::Rule(rule) if !is_verb || rule.method == "POST" => Found::Rule(rule),
        Found::Rule(_) => Found::OtherMethods("POST".to_owned()),
        Found::OtherMethods(_) if is_verb => Found::OtherMethods("POST".to_owned()),
        Found::OtherMethods(methods) => {
            let others = methods.split(',').filter(|method| *method != "POST");
            Found::OtherMethods(others.collect::<Vec<_>>().join(","))
        }
    }
}

fn methods(rules: &[&Rule]) -> String {
    let mut methods: Vec<&str> = rules.iter().map(|rule| rule.method).collect();
    if methods.contains(&"GET") && !methods.contains(&"HEAD") {
        methods.push("HEAD");
    }
    methods.join(",")
}

/// Routes that the router cannot tell from `…:predict`, which is a POST and the only one there.
const WITH_VERBS: [&str; 2] = ["/v1/models/{model}", "/v1/models/{model}/versions/{version}"];

const NOTHING: Need = Need::Nothing;
const READ: Need = Need::OneOf(&[Scope::Read]);
const PREDICT: Need = Need::OneOf(&[Scope::Predict]);
/// What a client has to know of a model before it sends images.
const EITHER: Need = Need::OneOf(&[Scope::Read, Scope::Predict]);
const WRITE: Need = Need::OneOf(&[Scope::Write]);
const ADMIN: Need = Need::OneOf(&[Scope::Admin]);

const fn row(method: &'static str, path: &'static str, need: Need, reach: Reach) -> Rule {
    Rule {
        method,
        path,
        need,
        reach,
    }
}

/// In the order of the routes.
pub const RULES: &[Rule] = &[
    row("GET", "/v1/datasets", READ, Reach::Datasets),
    row("POST", "/v1/datasets", WRITE, Reach::Named),
    row("PUT", "/v1/datasets", WRITE, Reach::Named),
    row("GET", "/v1/datasets/{dataset}", READ, Reach::Dataset),
    row("PUT", "/v1/datasets/{dataset}", WRITE, Reach::Named),
    row("DELETE", "/v1/datasets/{dataset}", WRITE, Reach::Dataset),
    row("GET", "/v1/datasets/{dataset}/report", READ, Reach::Dataset),
    row("GET", "/v1/datasets/{dataset}/images", READ, Reach::Dataset),
    row("POST", "/v1/datasets/{dataset}/images", WRITE, Reach::Dataset),
    row("PATCH", "/v1/datasets/{dataset}/images", WRITE, Reach::Dataset),
    row(
        "GET",
        "/v1/datasets/{dataset}/images/{image}",
        READ,
        Reach::Dataset,
    ),
    row(
        "PATCH",
        "/v1/datasets/{dataset}/images/{image}",
        WRITE,
        Reach::Dataset,
    ),
    row(
        "DELETE",
        "/v1/datasets/{dataset}/images/{image}",
        WRITE,
        Reach::Dataset,
    ),
    row("POST", "/v1/datasets/{dataset}/split", WRITE, Reach::Dataset),
    row("GET", "/v1/datasets/{dataset}/archive", READ, Reach::Dataset),
    row("GET", "/v1/datasets/{dataset}/versions", READ, Reach::Dataset),
    row(
        "GET",
        "/v1/datasets/{dataset}/versions/{version}",
        READ,
        Reach::Dataset,
    ),
    // It draws and keeps nothing.
    row("POST", "/v1/datasets/{dataset}/preview", READ, Reach::Dataset),
    row("POST", "/v1/datasets/{dataset}/reread", WRITE, Reach::Dataset),
    row(
        "POST",
        "/v1/datasets/{dataset}/label_check/apply",
        WRITE,
        Reach::Dataset,
    ),
    // An upload's name is its own, and a later request does not repeat the dataset's.
    row("OPTIONS", "/v1/uploads", WRITE, Reach::Nothing),
    row("POST", "/v1/uploads", WRITE, Reach::Datasets),
    row("GET", "/v1/uploads", WRITE, Reach::Datasets),
    row("HEAD", "/v1/uploads/{upload}", WRITE, Reach::Datasets),
    row("GET", "/v1/uploads/{upload}", WRITE, Reach::Datasets),
    row("PATCH", "/v1/uploads/{upload}", WRITE, Reach::Datasets),
    row("POST", "/v1/uploads/{upload}", WRITE, Reach::Datasets),
    row("DELETE", "/v1/uploads/{upload}", WRITE, Reach::Datasets),
    row("GET", "/v1/jobs", READ, Reach::Everything),
    row("POST", "/v1/jobs", WRITE, Reach::Named),
    row("GET", "/v1/jobs/{job}", READ, Reach::Job),
    row("DELETE", "/v1/jobs/{job}", WRITE, Reach::Job),
    row("POST", "/v1/jobs/{job}/cancel", WRITE, Reach::Job),
    row("GET", "/v1/jobs/{job}/logs", READ, Reach::Job),
    row("GET", "/v1/jobs/{job}/events", READ, Reach::Job),
    row("GET", "/v1/jobs/{job}/metrics", READ, Reach::Job),
    row("GET", "/v1/jobs/{job}/tensorboard", READ, Reach::Job),
    row("GET", "/v1/jobs/{job}/evaluation", READ, Reach::Job),
    row("GET", "/v1/jobs/{job}/lr_find", READ, Reach::Job),
    row("GET", "/v1/jobs/{job}/comparison", READ, Reach::Job),
    row("GET", "/v1/jobs/{job}/label_check", READ, Reach::Job),
    row("GET", "/v1/jobs/{job}/cross_validation", READ, Reach::Job),
    row("GET", "/v1/jobs/{job}/predictions", READ, Reach::Job),
    row("GET", "/v1/models", READ, Reach::Models),
    row("POST", "/v1/models", WRITE, Reach::Models),
    row("PUT", "/v1/models", WRITE, Reach::Models),
    row("GET", "/v1/models/{model}", EITHER, Reach::Model),
    row("PUT", "/v1/models/{model}", WRITE, Reach::Models),
    row("PATCH", "/v1/models/{model}", WRITE, Reach::Model),
    row("DELETE", "/v1/models/{model}", WRITE, Reach::Model),
    // `{model}:predict`, which the router cannot tell from a model.
    row("POST", "/v1/models/{model}", PREDICT, Reach::Model),
    row(
        "POST",
        "/v1/models/{model}/versions/{version}",
        PREDICT,
        Reach::Model,
    ),
    row("GET", "/v1/models/{model}/evaluation", READ, Reach::Model),
    row("GET", "/v1/models/{model}/lineage", READ, Reach::Model),
    // Of two models and a dataset.
    row(
        "GET",
        "/v1/models/{model}/compare/{other}",
        READ,
        Reach::Everything,
    ),
    row("GET", "/v1/models/{model}/export", READ, Reach::Model),
    row("POST", "/v1/models/{model}/predict", PREDICT, Reach::Model),
    row("PUT", "/v1/models/{model}/predict", PREDICT, Reach::Model),
    row("POST", "/v1/models/{model}/embeddings", PREDICT, Reach::Model),
    row("PUT", "/v1/models/{model}/embeddings", PREDICT, Reach::Model),
    row("POST", "/v1/models/{model}/explain", PREDICT, Reach::Model),
    row("PUT", "/v1/models/{model}/explain", PREDICT, Reach::Model),
    row("GET", "/v1/aliases", READ, Reach::Models),
    row("GET", "/v1/aliases/{alias}", EITHER, Reach::Alias),
    // They name or delete what others rely on.
    row("PUT", "/v1/aliases/{alias}", WRITE, Reach::Models),
    row("DELETE", "/v1/aliases/{alias}", WRITE, Reach::Models),
    row("POST", "/v1/aliases/{alias}/rollback", WRITE, Reach::Models),
    row("POST", "/predictions/{model}", PREDICT, Reach::Model),
    row("PUT", "/predictions/{model}", PREDICT, Reach::Model),
    row("POST", "/predictions/{model}/{version}", PREDICT, Reach::Model),
    row("PUT", "/predictions/{model}/{version}", PREDICT, Reach::Model),
    row("GET", "/ping", NOTHING, Reach::Nothing),
    row("GET", "/v2", EITHER, Reach::Nothing),
    row("GET", "/v2/health/live", NOTHING, Reach::Nothing),
    row("GET", "/v2/health/ready", NOTHING, Reach::Nothing),
    row("GET", "/v2/models/{model}", EITHER, Reach::Model),
    row("GET", "/v2/models/{model}/ready", EITHER, Reach::Model),
    row(
        "GET",
        "/v2/models/{model}/versions/{version}",
        EITHER,
        Reach::Model,
    ),
    row(
        "GET",
        "/v2/models/{model}/versions/{version}/ready",
        EITHER,
        Reach::Model,
    ),
    row("POST", "/v2/models/{model}/infer", PREDICT, Reach::Model),
    row(
        "POST",
        "/v2/models/{model}/versions/{version}/infer",
        PREDICT,
        Reach::Model,
    ),
    row("GET", "/v1/architectures", READ, Reach::Nothing),
    row("GET", "/v1/schemas/job", READ, Reach::Nothing),
    row("GET", "/v1/system", READ, Reach::Nothing),
    // Models are named in it.
    row("GET", "/metrics", READ, Reach::Everything),
    row("GET", "/v1/keys", ADMIN, Reach::Nothing),
    row("POST", "/v1/keys", ADMIN, Reach::Nothing),
    row("GET", "/v1/keys/{key}", ADMIN, Reach::Nothing),
    row("DELETE", "/v1/keys/{key}", ADMIN, Reach::Nothing),
    row("GET", "/v1/audit", ADMIN, Reach::Nothing),
    // They tell somebody else, and what waits for them is about everything.
    row("GET", "/v1/webhooks", ADMIN, Reach::Nothing),
    row("POST", "/v1/webhooks", ADMIN, Reach::Nothing),
    row("GET", "/v1/webhooks/{webhook}", ADMIN, Reach::Nothing),
    row("PATCH", "/v1/webhooks/{webhook}", ADMIN, Reach::Nothing),
    row("DELETE", "/v1/webhooks/{webhook}", ADMIN, Reach::Nothing),
    row("POST", "/v1/webhooks/{webhook}/secret", ADMIN, Reach::Nothing),
    row("POST", "/v1/webhooks/{webhook}/test", ADMIN, Reach::Nothing),
    row("GET", "/v1/webhooks/{webhook}/deliveries", ADMIN, Reach::Nothing),
    // How a browser gets in, and out.
    row("GET", "/v1/session", NOTHING, Reach::Nothing),
    row("POST", "/v1/session", NOTHING, Reach::Nothing),
    row("DELETE", "/v1/session", NOTHING, Reach::Nothing),
    row("GET", "/healthz", NOTHING, Reach::Nothing),
    row("GET", "/readyz", NOTHING, Reach::Nothing),
    // What everybody has who has the program.
    row("GET", "/openapi.json", NOTHING, Reach::Nothing),
    row("GET", "/openapi.yaml", NOTHING, Reach::Nothing),
    row("GET", "/docs", NOTHING, Reach::Nothing),
    row("GET", "/docs/{file}", NOTHING, Reach::Nothing),
    row("GET", "/", NOTHING, Reach::Nothing),
    row("GET", "/static/{path}", NOTHING, Reach::Nothing),
    row("GET", "/static/{folder}/{path}", NOTHING, Reach::Nothing),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::routes;

    /// Every route as the router has it: two are registered under a part of the address that they are described by.
    fn routed() -> BTreeSet<(String, String)> {
        let description = serde_json::to_value(routes::openapi()).unwrap();
        let mut routed = BTreeSet::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            let path = path.strip_suffix(":predict").unwrap_or(path);
            let methods = item.as_object().unwrap().keys();
            routed.extend(methods.map(|method| (method.to_uppercase(), path.to_owned())));
        }
        routed
    }

    #[test]
    fn every_route_has_a_row_and_every_row_a_route() {
        let rows: BTreeSet<_> = RULES
            .iter()
            .map(|rule| (rule.method.to_owned(), rule.path.to_owned()))
            .collect();
        assert_eq!(rows.len(), RULES.len(), "a row is there twice");
        assert_eq!(rows, routed(), "rows on the left, routes on the right");
    }

    #[test]
    fn only_listed_routes_are_open() {
        let open: BTreeSet<&str> = RULES
            .iter()
            .filter(|rule| rule.need == Need::Nothing)
            .map(|rule| rule.path)
            .collect();
        let expected = [
            "/",
            "/docs",
            "/docs/{file}",
            "/healthz",
            "/openapi.json",
            "/openapi.yaml",
            "/ping",
            "/readyz",
            "/static/{folder}/{path}",
            "/static/{path}",
            "/v1/session",
            "/v2/health/live",
            "/v2/health/ready",
        ];
        assert_eq!(open, BTreeSet::from(expected));
    }

    #[test]
    fn what_changes_something_needs_more_than_to_read() {
        for rule in RULES
            .iter()
            .filter(|rule| rule.method != "GET" && rule.need != Need::Nothing)
        {
            let draws_only = rule.path.ends_with("/preview");
            assert!(draws_only || ![READ, EITHER].contains(&rule.need), "{rule:?}");
        }
    }

    #[test]
    fn what_changes_something_is_in_the_audit_log() {
        let audited: Vec<String> = RULES
            .iter()
            .filter(|rule| rule.changes_something())
            .map(|rule| format!("{} {}", rule.method, rule.path))
            .collect();
        let has = |row: &str| audited.iter().any(|audited| audited == row);
        for row in [
            "DELETE /v1/datasets/{dataset}",
            "PATCH /v1/uploads/{upload}",
            "POST /v1/keys",
            "POST /v1/session",
        ] {
            assert!(has(row), "{row}");
        }
        for row in [
            "GET /v1/keys",
            "HEAD /v1/uploads/{upload}",
            "OPTIONS /v1/uploads",
            "POST /v1/models/{model}/predict",
        ] {
            assert!(!has(row), "{row}");
        }
        assert!(
            !has("POST /v1/datasets/{dataset}/preview") && audited.len() > 25,
            "{audited:#?}"
        );
    }

    /// A limit would be none where the address has nothing of that name.
    #[test]
    fn a_row_reaches_what_its_address_names() {
        for rule in RULES {
            let named = match rule.reach {
                Reach::Dataset => "{dataset}",
                Reach::Model => "{model}",
                Reach::Alias => "{alias}",
                Reach::Job => "{job}",
                _ => continue,
            };
            assert!(rule.path.contains(named), "{rule:?}");
        }
        for rule in RULES.iter().filter(|rule| rule.reach == Reach::Nothing) {
            let names = ["{dataset}", "{model}", "{alias}", "{job}", "{upload}"];
            assert!(!names.iter().any(|name| rule.path.contains(name)), "{rule:?}");
        }
    }

    #[test]
    fn a_method_without_a_row_is_told_the_others() {
        let found = |method: &str, path: &str| match find(&method.parse().unwrap(), path) {
            Found::Rule(rule) => rule.method.to_owned(),
            Found::OtherMethods(methods) => format!("not: {methods}"),
        };
        assert_eq!(found("GET", "/v1/system"), "GET");
        assert_eq!(found("HEAD", "/v1/system"), "GET");
        assert_eq!(found("HEAD", "/v1/uploads/{upload}"), "HEAD");
        assert_eq!(found("DELETE", "/v1/system"), "not: GET,HEAD");
        assert_eq!(found("GET", "/v1/secrets"), "not: ");
        let at = |method: &str, address: &str| match find_at(
            &method.parse().unwrap(),
            "/v1/models/{model}",
            address,
        ) {
            Found::Rule(rule) => rule.method.to_owned(),
            Found::OtherMethods(methods) => format!("not: {methods}"),
        };
        assert_eq!(at("OPTIONS", "/v1/models/m"), "not: GET,PUT,PATCH,DELETE,HEAD");
        assert_eq!(at("OPTIONS", "/v1/models/m:predict"), "not: POST");
        assert_eq!(at("GET", "/v1/models/m:predict"), "not: POST");
        assert_eq!(
            (at("POST", "/v1/models/m:predict"), at("GET", "/v1/models/m")),
            ("POST".to_owned(), "GET".to_owned())
        );
    }
}
