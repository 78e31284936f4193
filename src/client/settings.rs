//! A job spec assembled from a file and options such as `--set optimizer.lr=0.01`. The server validates it.

use serde_json::{Map, Value};

/// One `--set PATH=VALUE` option.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Field names, outermost first.
    path: Vec<String>,
    value: Value,
}

/// Parses `optimizer.lr=0.01`. A value that is valid JSON is used as such, anything else is a string: `epochs=3`, `freeze=none`,
/// `freeze={"until":"layer3"}`, `name="123"`.
pub fn parse_setting(text: &str) -> Result<Setting, String> {
    let Some((path, value)) = text.split_once('=') else {
        return Err("write it as FIELD=VALUE, for example optimizer.lr=0.01".to_owned());
    };
    let path: Vec<_> = path.split('.').map(|name| name.trim().to_owned()).collect();
    if path.iter().any(String::is_empty) {
        return Err("a field name is empty; write nested fields as optimizer.lr".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok(Setting { path, value })
}

impl Setting {
    /// Sets the value in the spec and creates objects on the way. A value on the path that is not an object is replaced: setting
    /// `freeze.until` overrides `"freeze": "backbone"`.
    pub fn apply(&self, spec: &mut Map<String, Value>) {
        let Some((last, way)) = self.path.split_last() else {
            return;
        };
        let mut place = spec;
        for name in way {
            let next = place.entry(name.clone()).or_insert(Value::Null);
            if !next.is_object() {
                *next = Value::Object(Map::new());
            }
            let Value::Object(object) = next else { return };
            place = object;
        }
        place.insert(last.clone(), self.value.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec_with(start: Value, settings: &[&str]) -> Value {
        let Value::Object(mut spec) = start else {
            panic!("a spec is an object")
        };
        for setting in settings {
            parse_setting(setting).unwrap().apply(&mut spec);
        }
        Value::Object(spec)
    }

    #[test]
    fn values_are_json_where_they_can_be() {
        let settings = [
            "epochs=3",
            "optimizer.lr=1e-2",
            "augment.horizontal_flip=true",
            "backbone.weights=none",
            "name=\"123\"",
            "max_seconds=null",
            "metadata.note=a=b",
        ];
        let expected = json!({
            "epochs": 3, "optimizer": {"lr": 1e-2}, "augment": {"horizontal_flip": true}, "backbone": {"weights": "none"},
            "name": "123", "max_seconds": null, "metadata": {"note": "a=b"}
        });
        assert_eq!(spec_with(json!({}), &settings), expected);
    }

    #[test]
    fn a_setting_changes_one_field_and_leaves_its_neighbours() {
        let start = json!({"optimizer": {"lr": 1, "momentum": 0.5}, "freeze": "backbone"});
        let spec = spec_with(
            start,
            &["optimizer.lr=2", "freeze.until=layer3", "optimizer.lr=3"],
        );
        assert_eq!(
            spec,
            json!({"optimizer": {"lr": 3, "momentum": 0.5}, "freeze": {"until": "layer3"}})
        );
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for text in ["epochs", "=3", "optimizer.=1", ".lr=1", ""] {
            assert!(parse_setting(text).is_err(), "{text:?}");
        }
    }
}
