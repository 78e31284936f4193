//! Explicit nulls in JSON bodies: refused if the body's schema does not allow them, so that the API accepts what its description says.
//!
//! The domain reads a null as a missing field, because its own resolved specs contain nulls for unset fields.

use serde_json::Value;

use crate::error::FieldError;

/// One error per field of `document` that is null although `schema` does not allow it. Fields that the schema does not define are left to
/// the parser of the document.
pub fn faults(document: &Value, schema: &Value) -> Vec<FieldError> {
    let mut faults = Vec::new();
    look(document, "", &[schema], &mut faults);
    faults
}

fn look(value: &Value, pointer: &str, schemas: &[&Value], faults: &mut Vec<FieldError>) {
    let Some(fields) = value.as_object() else {
        return;
    };
    for (name, value) in fields {
        let described: Vec<&Value> = schemas
            .iter()
            .flat_map(|schema| alternatives(schema))
            .filter_map(|schema| schema["properties"].get(name))
            .collect();
        if described.is_empty() {
            continue;
        }
        let pointer = format!("{pointer}/{name}");
        if value.is_null() && !described.iter().any(|schema| allows_null(schema)) {
            let message = "must not be null; omit the field to use its default";
            faults.push(FieldError::new(pointer, "type", message));
        } else {
            look(value, &pointer, &described, faults);
        }
    }
}

/// The schema itself and its alternatives.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let mut all = vec![schema];
    for key in ["oneOf", "anyOf"] {
        let listed = schema[key].as_array().into_iter().flatten();
        all.extend(listed.flat_map(alternatives));
    }
    all
}

fn allows_null(schema: &Value) -> bool {
    let is_null = |kind: &Value| kind == "null";
    alternatives(schema)
        .into_iter()
        .any(|schema| match &schema["type"] {
            Value::Array(kinds) => kinds.iter().any(is_null),
            // Without a type, anything is allowed, unless its alternatives say more.
            Value::Null => {
                schema.get("oneOf").or(schema.get("anyOf")).is_none() && schema.get("enum").is_none()
            }
            kind => is_null(kind),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_are_found_where_the_schema_has_none() {
        let schema = json!({"type": "object", "properties": {
            "epochs": {"type": "integer"},
            "name": {"type": ["string", "null"]},
            "stop": {"oneOf": [{"type": "null"}, {"type": "object", "properties": {"patience": {"type": "integer"}}}]},
            "freeze": {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"until": {"type": "string"}}}]},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "anything": {"description": "of any type"},
        }});
        let pointers = |document: Value| {
            let found = faults(&document, &schema).into_iter();
            found.map(|fault| fault.pointer).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(
            pointers(json!({"name": null, "stop": null, "anything": null, "unknown": null})),
            none
        );
        assert_eq!(pointers(json!([null])), none);
        assert_eq!(
            pointers(
                json!({"epochs": null, "stop": {"patience": null}, "freeze": {"until": null}, "metadata": null})
            ),
            ["/epochs", "/freeze/until", "/metadata", "/stop/patience"]
        );
        assert_eq!(pointers(json!({"freeze": null})), ["/freeze"]);
    }
}
