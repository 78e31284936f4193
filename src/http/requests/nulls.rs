//! Explicit nulls in JSON bodies: a field that is null is as if it were absent.
//!
//! Many serialisers write null for everything that is not set. The domain reads a null as a missing field in the same way, because its
//! own resolved specs contain nulls for unset fields. Where a null says something of its own (a merge patch), the body is read with
//! [`PatchBody`](super::extract::PatchBody), which keeps them.

use serde_json::Value;

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
