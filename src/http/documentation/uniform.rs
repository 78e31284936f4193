//! What is alike in many operations, in the API's description: headers that have one form everywhere, `Idempotency-Key` of every POST that
//! knows it, bodies that are files, and the range of numbers.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Map, Value, json};

use crate::http::{
    repeats::{self, Repeat, repeat_of},
    requests::{nulls, precondition},
};

/// Headers whose values have a form, by their names in lower case.
const FORMS: [(&str, &str); 6] = [
    ("if-match", precondition::PATTERN),
    ("tus-resumable", r"^1\.0\.0$"),
    ("repr-digest", r"^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$"),
    (
        "content-digest",
        r"^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$",
    ),
    (
        "upload-checksum",
        r"^(sha1 [A-Za-z0-9+/]{26}|sha256 [A-Za-z0-9+/]{42})[AEIMQUYcgkosw048]=$",
    ),
    ("x-http-method-override", "^(PATCH|DELETE)$"),
];

/// Adds it to the description of all routes.
pub fn add_to(api: &mut Value) {
    let paths = api["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            add_key(method, path, operation);
            operation["parameters"]
                .as_array_mut()
                .into_iter()
                .flatten()
                .for_each(form);
            contents(&mut operation["requestBody"]);
            for response in operation["responses"].as_object_mut().into_iter().flatten() {
                contents(response.1);
            }
            // Indexing makes what is not there.
            if let Some(operation) = operation.as_object_mut() {
                operation.retain(|_, part| !part.is_null());
            }
        }
    }
    nulls_in_bodies(api);
    numbers(api);
}

/// What may be left out of a body may be null in it, except in a merge patch, where a null has its own meaning.
fn nulls_in_bodies(api: &mut Value) {
    let mut names = Vec::new();
    for (_, item) in api["paths"].as_object().into_iter().flatten() {
        for (_, operation) in item.as_object().into_iter().flatten() {
            let content = &operation["requestBody"]["content"];
            if content["application/merge-patch+json"].is_null() {
                names.extend(parts_of(&content["application/json"]));
            }
        }
    }
    let mut seen = BTreeSet::new();
    while let Some(name) = names.pop() {
        if seen.insert(name.clone()) {
            let part = &mut api["components"]["schemas"][&name];
            names.extend(parts_of(part));
            nulls::permit(part);
        }
    }
}

/// The names of the components that a schema refers to.
fn parts_of(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            let own = own.and_then(|path| path.strip_prefix("#/components/schemas/"));
            let own = own.map(str::to_owned).into_iter();
            own.chain(fields.values().flat_map(parts_of)).collect()
        }
        Value::Array(items) => items.iter().flat_map(parts_of).collect(),
        _ => Vec::new(),
    }
}

/// The header by which a request can be repeated.
fn add_key(method: &str, path: &str, operation: &mut Value) {
    let routed = path.strip_suffix(":predict").unwrap_or(path);
    let method = Method::try_from(method.to_uppercase().as_str()).unwrap_or_default();
    let description = match repeat_of(&method, routed) {
        Some(Repeat::SameAnswer) => {
            "A repeat under the same key gets the answer of the first request, for 24 hours"
        }
        Some(Repeat::AnswerNotKept) => {
            "A repeat under the same key does nothing and gets 409 `idempotency-answer-not-kept`, for 24 hours: the secret is shown once"
        }
        Some(Repeat::OfItsJob) => {
            "A repeat under the same key gets the job of the first request, for 24 hours"
        }
        Some(Repeat::Again) | None => return,
    };
    let header = json!({
        "name": repeats::NAME.as_str(), "in": "header", "required": false, "description": description,
        "schema": {"type": "string", "pattern": repeats::PATTERN},
    });
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.push(header),
        None => operation["parameters"] = json!([header]),
    }
}

fn form(parameter: &mut Value) {
    let name = parameter["name"].as_str().unwrap_or("").to_ascii_lowercase();
    let known = FORMS
        .iter()
        .find(|(known, _)| parameter["in"] == "header" && *known == name);
    if let Some((_, pattern)) = known
        && parameter["schema"]["pattern"].is_null()
    {
        parameter["schema"] = json!({"type": "string", "pattern": pattern});
    }
}

/// Files, alone or in a form, are described as such: they are no lists of numbers.
fn contents(body: &mut Value) {
    let Some(contents) = body.get_mut("content").and_then(Value::as_object_mut) else {
        return;
    };
    for (kind, content) in contents {
        let is_json = kind.ends_with("json");
        let schema = content.get("schema");
        if kind == "multipart/form-data" && schema.is_none() {
            content["schema"] = json!({
                "type": "object", "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "The field may have any name; it is a file if it has a file name"}},
            });
        } else if !is_json && schema.is_none_or(|schema| schema["type"] == "array") {
            content["schema"] = json!({"type": "string", "format": "binary"});
        }
    }
}

/// `int32` ends at 2³¹ − 1, and what is never negative goes on to 2³² − 1.
fn numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("format") == Some(&json!("int32")) && is_natural(fields) {
                fields.remove("format");
                fields.entry("maximum").or_insert(json!(u32::MAX));
            }
            fields.values_mut().for_each(numbers);
        }
        Value::Array(items) => items.iter_mut().for_each(numbers),
        _ => {}
    }
}

fn is_natural(schema: &Map<String, Value>) -> bool {
    schema
        .get("minimum")
        .and_then(Value::as_f64)
        .is_some_and(|least| least >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes;

    fn described() -> Value {
        serde_json::to_value(routes::openapi()).unwrap()
    }

    fn parameter<'a>(api: &'a Value, method: &str, path: &str, name: &str) -> Option<&'a Value> {
        let parameters = api["paths"][path][method]["parameters"].as_array();
        parameters?.iter().find(|parameter| parameter["name"] == name)
    }

    #[test]
    fn what_changes_something_can_be_repeated_and_what_can_be_read_can_be_held_to() {
        let api = described();
        for path in [
            "/v1/jobs",
            "/v1/keys",
            "/v1/datasets",
            "/v1/aliases/{alias}/rollback",
        ] {
            assert!(
                parameter(&api, "post", path, "idempotency-key").is_some(),
                "{path}"
            );
        }
        assert!(parameter(&api, "post", "/v1/models/{model}/predict", "idempotency-key").is_none());
        for path in [
            "/v1/datasets/{dataset}",
            "/v1/models/{model}",
            "/v1/aliases/{alias}",
            "/v1/keys/{key}",
            "/v1/jobs/{job}",
            "/v1/webhooks/{webhook}",
        ] {
            assert!(parameter(&api, "get", path, "if-none-match").is_some(), "{path}");
            assert!(!api["paths"][path]["get"]["responses"]["304"].is_null(), "{path}");
            let held = parameter(&api, "delete", path, "if-match").unwrap_or_else(|| panic!("{path}"));
            assert_eq!(held["schema"]["pattern"], precondition::PATTERN, "{path}");
        }
    }

    #[test]
    fn files_are_no_lists_of_numbers() {
        let api = described();
        let export = &api["paths"]["/v1/models/{model}/export"]["get"]["responses"]["200"]["content"];
        for (kind, content) in export.as_object().unwrap() {
            assert_eq!(
                content["schema"],
                json!({"type": "string", "format": "binary"}),
                "{kind}"
            );
        }
    }
}
