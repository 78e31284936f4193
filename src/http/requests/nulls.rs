//! Explicit nulls in JSON bodies: a field that is null is as if it were absent.
//!
//! Many serialisers write null for everything that is not set. The domain reads a null as a missing field in the same way, because its
//! own resolved specs contain nulls for unset fields. Where a null says something of its own (a merge patch), the body is read with
//! [`PatchBody`](super::extract::PatchBody), which keeps them.

use serde_json::{Value, json};

/// Drops the fields of all objects that are null. Elements of lists stay: their places have a meaning.
pub fn drop_fields(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_fields);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_fields),
        _ => {}
    }
}

/// Says the same in a schema: what an object need not have may be null in it, however deep.
pub fn permit(schema: &mut Value) {
    if let Some(items) = schema.as_array_mut() {
        items.iter_mut().for_each(permit);
        return;
    }
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    let required = fields.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| {
        required
            .as_array()
            .is_some_and(|names| names.contains(&json!(name)))
    };
    for (keyword, inner) in fields {
        match (keyword.as_str(), inner) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    permit(property);
                    if !is_required(name) {
                        or_null(property);
                    }
                }
            }
            ("items" | "additionalProperties" | "oneOf" | "anyOf" | "allOf" | "prefixItems", inner) => {
                permit(inner)
            }
            _ => {}
        }
    }
}

/// Null, or what the schema describes.
fn or_null(schema: &mut Value) {
    let nothing = json!({"type": "null"});
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    for choice in ["oneOf", "anyOf"] {
        if let Some(Value::Array(choices)) = fields.get_mut(choice) {
            if !choices.iter().any(takes_null) {
                choices.push(nothing);
            }
            return;
        }
    }
    if fields.contains_key("$ref") || fields.contains_key("allOf") {
        *schema = json!({"oneOf": [nothing, schema.take()]});
        return;
    }
    if let Some(Value::Array(values)) = fields.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    match fields.get_mut("type") {
        Some(Value::Array(types)) if !types.contains(&json!("null")) => types.push(json!("null")),
        Some(single @ Value::String(_)) if *single != "null" => *single = json!([single, "null"]),
        _ => {}
    }
}

fn takes_null(schema: &Value) -> bool {
    let kinds = &schema["type"];
    kinds == "null"
        || kinds
            .as_array()
            .is_some_and(|kinds| kinds.contains(&json!("null")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_takes_null_wherever_a_field_can_be_left_out() {
        let mut schema = json!({
            "type": "object", "required": ["name"], "additionalProperties": false,
            "properties": {
                "name": {"type": "string"},
                "epochs": {"type": "integer", "minimum": 1},
                "kind": {"type": "string", "enum": ["train"]},
                "image": {"$ref": "#/$defs/image"},
                "augment": {"type": "object", "properties": {"crop": {"type": ["array", "null"]}, "flip": {"type": "boolean"}}},
                "freeze": {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"to": {"type": "string"}}}]},
                "list": {"type": "array", "items": {"type": "object", "properties": {"data": {"type": "number"}}}},
            },
            "$defs": {"image": {"type": "object"}},
        });
        permit(&mut schema);
        let once = schema.clone();
        permit(&mut schema);
        assert_eq!(schema, once);
        let validator = jsonschema::validator_for(&schema).unwrap();
        for field in ["epochs", "kind", "image", "augment", "freeze", "list"] {
            assert!(validator.is_valid(&json!({"name": "a", field: null})), "{field}");
        }
        for right in [
            json!({"name": "a", "augment": {"crop": null, "flip": null}, "freeze": {"to": null}}),
            json!({"name": "a", "list": [{"data": null}]}),
        ] {
            assert!(validator.is_valid(&right), "{right}");
        }
        for wrong in [
            json!({"name": null}),
            json!({"name": "a", "epochs": "3"}),
            json!({"name": "a", "list": [null]}),
            json!({"name": "a", "kind": "other"}),
        ] {
            assert!(!validator.is_valid(&wrong), "{wrong}");
        }
    }

    #[test]
    fn fields_that_are_null_are_dropped_however_deep_and_elements_are_not() {
        for (sent, kept) in [
            (json!({"epochs": null, "name": "a"}), json!({"name": "a"})),
            (json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
            (
                json!({"inputs": [{"data": null}, null]}),
                json!({"inputs": [{}, null]}),
            ),
            (json!([[{"a": null}], null]), json!([[{}], null])),
            (json!(null), json!(null)),
            (
                json!({"null": "null", "zero": 0, "no": false, "empty": ""}),
                json!({"null": "null", "zero": 0, "no": false, "empty": ""}),
            ),
        ] {
            let mut document = sent.clone();
            drop_fields(&mut document);
            assert_eq!(document, kept, "{sent}");
        }
    }
}
