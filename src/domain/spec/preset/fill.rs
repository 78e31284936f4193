//! Fills values into a document wherever it has none.

use serde_json::Value;

/// Fields by which an object says what it is: with another one, values for it have no meaning.
const KINDS: [&str; 2] = ["name", "kind"];

/// Puts `values` where `document` has none, and the JSON pointers of what was put into `given`. Null counts as none.
pub fn fill(document: &mut Value, values: Value, pointer: &str, given: &mut Vec<String>) {
    match (document, values) {
        (Value::Object(document), Value::Object(values)) => {
            let is_another = KINDS.iter().any(|kind| {
                let of = |object: &serde_json::Map<String, Value>| {
                    object.get(*kind).filter(|value| !value.is_null()).cloned()
                };
                of(document).is_some_and(|own| of(&values).is_some_and(|other| own != other))
            });
            if is_another && !pointer.is_empty() {
                return;
            }
            for (name, value) in values {
                let pointer = format!("{pointer}/{name}");
                fill(
                    document.entry(name).or_insert(Value::Null),
                    value,
                    &pointer,
                    given,
                );
            }
        }
        (document, values) if document.is_null() => {
            note(&values, pointer, given);
            *document = values;
        }
        _ => {}
    }
}

/// Notes every value that is no object.
fn note(value: &Value, pointer: &str, given: &mut Vec<String>) {
    match value {
        Value::Object(object) => object
            .iter()
            .for_each(|(name, value)| note(value, &format!("{pointer}/{name}"), given)),
        _ => given.push(pointer.to_owned()),
    }
}
