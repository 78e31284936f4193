//! What the table of routes says, in the API's description: how a key is sent, and which scopes each operation needs.

use utoipa::openapi::{
    OpenApi, PathItem,
    path::Operation,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::rules::{Need, RULES};

const KEY: &str = "key";
const SESSION: &str = "session";

/// Adds it to the description of all routes.
pub fn add_to(api: &mut OpenApi) {
    let components = api.components.get_or_insert_default();
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("ft_…")
        .description(Some("Needed from the first key on; see docs/KEYS.md"))
        .build();
    components.add_security_scheme(KEY, SecurityScheme::Http(key));
    let session = ApiKeyValue::with_description(
        "finetuned_session_8080",
        "For browsers, from POST /v1/session; the name ends in the server's port",
    );
    components.add_security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    for rule in RULES {
        for (path, item) in &mut api.paths.paths {
            if is_of(path, rule.method, rule.path)
                && let Some(operation) = operation(item, rule.method)
            {
                operation.security = Some(requirements(rule.need));
            }
        }
    }
}

/// Two operations are described by more of their address than the router has.
fn is_of(described: &str, method: &str, routed: &str) -> bool {
    let with_verb = described.strip_suffix(":predict");
    match with_verb {
        Some(before) => before == routed && method == "POST",
        None => described == routed,
    }
}

fn operation<'i>(item: &'i mut PathItem, method: &str) -> Option<&'i mut Operation> {
    let operation = match method {
        "GET" => &mut item.get,
        "PUT" => &mut item.put,
        "POST" => &mut item.post,
        "DELETE" => &mut item.delete,
        "OPTIONS" => &mut item.options,
        "HEAD" => &mut item.head,
        "PATCH" => &mut item.patch,
        _ => return None,
    };
    operation.as_mut()
}

/// Any one of these is enough; nothing is, too, where there is no key yet.
fn requirements(need: Need) -> Vec<SecurityRequirement> {
    let Need::OneOf(scopes) = need else {
        return Vec::new();
    };
    let mut requirements = vec![SecurityRequirement::default()];
    for scope in scopes {
        requirements.push(SecurityRequirement::new(KEY, [scope.as_str()]));
        requirements.push(SecurityRequirement::new(SESSION, [scope.as_str()]));
    }
    requirements
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::routes;

    #[test]
    fn each_operation_says_which_scope_it_needs() {
        let api = serde_json::to_value(routes::openapi()).unwrap();
        let security = |method: &str, path: &str| api["paths"][path][method]["security"].clone();
        assert_eq!(security("get", "/healthz"), json!([]));
        assert_eq!(
            security("post", "/v1/jobs"),
            json!([{}, {"key": ["write"]}, {"session": ["write"]}])
        );
        assert_eq!(
            security("post", "/v1/models/{model}:predict")[1],
            json!({"key": ["predict"]})
        );
        for (path, item) in api["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(operation["security"].is_array(), "{method} {path}");
            }
        }
    }
}
