//! `PATCH /v1/models/{model}`: renames a model or changes its metadata.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    domain::{
        models::{
            alias,
            model::{Metadata, Model, check_metadata},
        },
        name::Name,
        tag::Tag,
    },
    error::{Error, FieldError, Result},
    http::{
        App,
        access::Allowed,
        requests::{extract::PatchBody, precondition},
        responses::problem::Problems,
    },
    store::ModelEdit,
};

/// A change of a model; fields that are not given are kept (JSON Merge Patch, RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct ModelPatch {
    /// New name; the model becomes the next version of that name. Null keeps the name.
    name: Option<Name>,
    /// Strings to set; null removes one, and null instead of the object removes all. Up to 16 keys of up to 64 bytes, values of up to 512.
    metadata: Option<BTreeMap<String, Option<String>>>,
}

/// Rename a model, or change its metadata
///
/// The body is a merge patch (RFC 7396), as `application/json` or `application/merge-patch+json`: `{"metadata": {"stage": "tried", "note":
/// null}}` sets one value and removes another. A renamed model becomes the next version of its new name; the name of an alias is refused
/// with 409 `name-taken`.
#[utoipa::path(
    patch, path = "/v1/models/{model}", tag = "models",
    params(
        ("model" = String, Path, description = "Id, alias, name (the newest) or name@version"),
        ("if-match" = Option<String>, Header, description = "Only if this is its ETag")
    ),
    request_body(content((ModelPatch = "application/json"), (ModelPatch = "application/merge-patch+json"))),
    responses((status = 200, body = Model, headers(("etag" = String))), Problems)
)]
pub async fn edit(
    State(app): State<App>,
    Path(reference): Path<String>,
    allowed: Allowed,
    headers: HeaderMap,
    PatchBody(patch): PatchBody,
) -> Result<Response> {
    let model = app.store().model(&reference).await?;
    let seen = precondition::seen(&headers, &model, &model)?;
    let edit = parse(&patch, &model.metadata)?;
    if let Some(name) = &edit.name {
        allowed.check_model(name.as_str())?;
    }
    app.store().edit_model(model.id, edit, seen).await?;
    let model = app.store().model(&model.id.to_string()).await?;
    let tag = [(header::ETAG, Tag::of(&model).to_string())];
    Ok((tag, Json(model)).into_response())
}

/// # Errors
/// Everything that is invalid in the patch, at once.
fn parse(patch: &Value, metadata: &Metadata) -> Result<ModelEdit> {
    let mut faults = Vec::new();
    let mut edit = ModelEdit::default();
    let Some(fields) = patch.as_object() else {
        return Err(wrong(vec![FieldError::new("", "type", "must be an object")]));
    };
    for (field, value) in fields {
        match (field.as_str(), value) {
            ("name", Value::String(text)) => match alias::parse_name(text) {
                Ok(name) => edit.name = Some(name),
                Err(rule) => faults.push(FieldError::new("/name", "range", rule)),
            },
            ("name", value) if !value.is_null() => {
                faults.push(FieldError::new("/name", "type", "must be a string"));
            }
            ("metadata", Value::Null) => edit.metadata = Some(Metadata::new()),
            ("metadata", Value::Object(texts)) => {
                edit.metadata = Some(merged(metadata.clone(), texts, &mut faults));
            }
            ("metadata", _) => {
                faults.push(FieldError::new(
                    "/metadata",
                    "type",
                    "must be an object of strings, or null",
                ));
            }
            // Without a meaning here, so it is as if the field were absent.
            (_, Value::Null) => {}
            (unknown, _) => {
                let message = "unknown or read-only field; only `name` and `metadata` can be changed";
                faults.push(FieldError::new(pointer("", unknown), "unknown_field", message));
            }
        }
    }
    if faults.is_empty() {
        Ok(edit)
    } else {
        Err(wrong(faults))
    }
}

fn merged(
    mut metadata: Metadata,
    texts: &serde_json::Map<String, Value>,
    faults: &mut Vec<FieldError>,
) -> Metadata {
    for (key, value) in texts {
        match value {
            Value::Null => {
                metadata.remove(key);
            }
            Value::String(text) => {
                metadata.insert(key.clone(), text.clone());
            }
            _ => faults.push(FieldError::new(
                pointer("/metadata", key),
                "type",
                "must be a string, or null",
            )),
        }
    }
    if let Err(rule) = check_metadata(&metadata) {
        faults.push(FieldError::new("/metadata", "range", rule));
    }
    metadata
}

fn pointer(before: &str, key: &str) -> String {
    let shown: String = key.chars().filter(|c| !c.is_control()).take(80).collect();
    format!("{before}/{}", shown.replace('~', "~0").replace('/', "~1"))
}

fn wrong(faults: Vec<FieldError>) -> Error {
    Error::fields("the change of the model is invalid", faults)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(patch: Value) -> Result<Metadata> {
        let before =
            Metadata::from([("a", "1"), ("b", "2")].map(|(key, text)| (key.to_owned(), text.to_owned())));
        Ok(parse(&patch, &before)?.metadata.unwrap_or(before))
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let after = metadata(json!({"metadata": {"a": null, "c": "3", "none": null}})).unwrap();
        assert_eq!(json!(after), json!({"b": "2", "c": "3"}));
        assert_eq!(json!(metadata(json!({})).unwrap()), json!({"a": "1", "b": "2"}));
        assert!(metadata(json!({"metadata": null})).unwrap().is_empty());
        let edit = parse(&json!({"name": "beetles"}), &Metadata::new()).unwrap();
        assert_eq!((edit.name.unwrap().as_str(), edit.metadata), ("beetles", None));
        let edit = parse(&json!({"name": null, "card": null}), &Metadata::new()).unwrap();
        assert_eq!((edit.name, edit.metadata), (None, None));
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let wrong = json!({
            "name": "mdl_1", "metadata": {"n": 1, "o": {}, "long": "x".repeat(513)}, "card": {}, "a/b": 1
        });
        let error = parse(&wrong, &Metadata::new()).unwrap_err();
        let mut pointers: Vec<_> = error
            .errors()
            .iter()
            .map(|fault| fault.pointer.as_str())
            .collect();
        pointers.sort_unstable();
        let all = [
            "/a~1b",
            "/card",
            "/metadata",
            "/metadata/n",
            "/metadata/o",
            "/name",
        ];
        assert_eq!(pointers, all);
        let many: serde_json::Map<_, _> = (0..17).map(|number| (number.to_string(), json!("x"))).collect();
        assert!(parse(&json!({"metadata": many}), &Metadata::new()).is_err());
        assert!(parse(&json!([]), &Metadata::new()).is_err());
    }
}
