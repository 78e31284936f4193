//! A key that somebody asks for, checked.

use serde_json::Value;

use super::{Quotas, Scope, quotas::pointer};
use crate::{
    domain::{name::Name, time::Timestamp},
    error::FieldError,
};

/// What a new key is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    pub name: Name,
    /// At least one, in their order, each once.
    pub scopes: Vec<Scope>,
    pub datasets: Option<Vec<Name>>,
    pub models: Option<Vec<Name>>,
    pub quotas: Quotas,
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// Most names in a list.
    pub const MOST_NAMES: usize = 100;

    /// Reads a request.
    ///
    /// # Errors
    /// Every fault of the document.
    pub fn parse(document: &Value, now: Timestamp) -> Result<Self, Vec<FieldError>> {
        let Some(fields) = document.as_object() else {
            return Err(vec![FieldError::new("", "type", "must be an object")]);
        };
        let mut faults: Vec<FieldError> = fields
            .keys()
            .filter(|field| !FIELDS.contains(&field.as_str()))
            .map(|field| FieldError::new(pointer("", field), "unknown_field", "unknown field"))
            .collect();
        let name = name(fields.get("name"), &mut faults);
        let key = Self {
            scopes: scopes(fields.get("scopes"), &mut faults),
            datasets: names(fields.get("datasets"), "/datasets", &mut faults),
            models: names(fields.get("models"), "/models", &mut faults),
            quotas: Quotas::parse(fields.get("quotas"), &mut faults),
            expires_at: time(fields.get("expires_at"), &mut faults),
            name: match name {
                Some(name) => name,
                None => return Err(faults),
            },
        };
        match faults.is_empty() {
            true => key.checked(now),
            false => Err(faults),
        }
    }

    /// The key, if its parts fit each other; also for those that were read from a command line.
    ///
    /// # Errors
    /// Every fault.
    pub fn checked(mut self, now: Timestamp) -> Result<Self, Vec<FieldError>> {
        let mut faults = Vec::new();
        self.scopes.sort_unstable();
        self.scopes.dedup();
        if self.scopes.is_empty() {
            faults.push(FieldError::new("/scopes", "range", "name at least one scope"));
        }
        for (pointer, names) in [("/datasets", &mut self.datasets), ("/models", &mut self.models)] {
            let Some(names) = names else { continue };
            names.sort();
            names.dedup();
            if names.len() > Self::MOST_NAMES {
                let rule = format!("name at most {}", Self::MOST_NAMES);
                faults.push(FieldError::new(pointer, "range", rule));
            }
            if self.scopes.contains(&Scope::Admin) {
                let rule = "a key that may make keys cannot be limited: it could make itself another one";
                faults.push(FieldError::new(pointer, "conflict", rule));
            }
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            faults.push(FieldError::new("/expires_at", "range", "must be in the future"));
        }
        match faults.is_empty() {
            true => Ok(self),
            false => Err(faults),
        }
    }
}

const FIELDS: [&str; 6] = ["name", "scopes", "datasets", "models", "quotas", "expires_at"];

fn name(value: Option<&Value>, faults: &mut Vec<FieldError>) -> Option<Name> {
    let (code, rule) = match value {
        Some(Value::String(text)) => match Name::parse(text) {
            Ok(name) => return Some(name),
            Err(fault) => ("range", fault.to_string()),
        },
        Some(_) => ("type", "must be a string".to_owned()),
        None => ("missing", "say whose key it is, such as `camera-7`".to_owned()),
    };
    faults.push(FieldError::new("/name", code, rule));
    None
}

fn scopes(value: Option<&Value>, faults: &mut Vec<FieldError>) -> Vec<Scope> {
    let rule = "must be a list of `read`, `predict`, `write` and `admin`";
    let Some(value) = value else {
        faults.push(FieldError::new("/scopes", "missing", rule));
        return Vec::new();
    };
    let words = value.as_array().map(Vec::as_slice);
    let read = words.and_then(|words| words.iter().map(|word| word.as_str()?.parse().ok()).collect());
    read.unwrap_or_else(|| {
        faults.push(FieldError::new("/scopes", "type", rule));
        Vec::new()
    })
}

/// A list of names; none where the field is absent.
fn names(value: Option<&Value>, pointer: &str, faults: &mut Vec<FieldError>) -> Option<Vec<Name>> {
    let texts = value?.as_array().map(Vec::as_slice);
    let read: Option<Vec<Name>> = texts.and_then(|texts| {
        texts
            .iter()
            .map(|text| Name::parse(text.as_str()?).ok())
            .collect()
    });
    if read.is_none() {
        faults.push(FieldError::new(pointer, "type", "must be a list of names"));
    }
    read
}

fn time(value: Option<&Value>, faults: &mut Vec<FieldError>) -> Option<Timestamp> {
    let read = serde_json::from_value(value?.clone());
    read.inspect_err(|_| {
        let rule = "must be a time such as `2027-01-31T00:00:00Z`";
        faults.push(FieldError::new("/expires_at", "type", rule));
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_764_000_000_000);

    fn faults(document: Value) -> Vec<(String, String)> {
        let faults = NewKey::parse(&document, NOW).unwrap_err();
        let mut faults: Vec<_> = faults
            .into_iter()
            .map(|fault| (fault.pointer, fault.code))
            .collect();
        faults.sort();
        faults
    }

    #[test]
    fn a_key_needs_a_name_and_a_scope() {
        let key = NewKey::parse(&json!({"name": "ci", "scopes": ["write", "read", "write"]}), NOW).unwrap();
        assert_eq!(key.scopes, [Scope::Read, Scope::Write]);
        assert_eq!((key.datasets, key.models, key.expires_at), (None, None, None));
        assert_eq!(key.quotas, Quotas::default());
        let limited = json!({"name": "camera", "scopes": ["predict"], "datasets": [], "models": ["b", "a", "b"],
            "expires_at": "2027-01-31T00:00:00Z"});
        let key = NewKey::parse(&limited, NOW).unwrap();
        assert_eq!(key.datasets, Some(Vec::new()));
        assert_eq!(
            key.models,
            Some(["a", "b"].map(|name| Name::parse(name).unwrap()).into())
        );
        assert!(key.expires_at > Some(NOW));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let of = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
        assert_eq!(
            faults(
                json!({"name": "a b", "scopes": ["root"], "datasets": "all", "models": ["a/b"], "quotas": {"max_bytes": -1}, "expires_at": "tomorrow", "key": "x"})
            ),
            [
                of("/datasets", "type"),
                of("/expires_at", "type"),
                of("/key", "unknown_field"),
                of("/models", "type"),
                of("/name", "range"),
                of("/quotas/max_bytes", "range"),
                of("/scopes", "type"),
            ]
        );
        assert_eq!(
            faults(json!({})),
            [of("/name", "missing"), of("/scopes", "missing")]
        );
        assert_eq!(faults(json!([])), [of("", "type")]);
        let past = json!({"name": "a", "scopes": [], "expires_at": "2020-01-31T00:00:00Z"});
        assert_eq!(faults(past), [of("/expires_at", "range"), of("/scopes", "range")]);
        let limited = json!({"name": "a", "scopes": ["admin"], "models": ["insects"]});
        assert_eq!(faults(limited), [of("/models", "conflict")]);
    }
}
