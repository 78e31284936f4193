//! Reads fields of a JSON object and collects every fault on the way, each with its JSON pointer (RFC 6901).
//!
//! serde stops at the first wrong field; a person who sends a spec wants to see all of them at once.

use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::error::FieldError;

/// The faults found so far, shared by all objects of one document.
pub type Faults = RefCell<Vec<FieldError>>;

/// One object of the document and the fields that have been read.
pub struct Fields<'a> {
    pointer: String,
    object: Option<&'a Map<String, Value>>,
    known: Vec<&'static str>,
    faults: &'a Faults,
}

impl<'a> Fields<'a> {
    /// The document itself. Anything but an object is a fault, and then every field reads as absent.
    pub fn root(value: &'a Value, faults: &'a Faults) -> Self {
        Self::new(String::new(), Some(value), faults)
    }

    fn new(pointer: String, value: Option<&'a Value>, faults: &'a Faults) -> Self {
        let object = match value {
            None => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => {
                faults
                    .borrow_mut()
                    .push(FieldError::new(pointer.clone(), "type", "must be an object"));
                None
            }
        };
        Self {
            pointer,
            object,
            known: Vec::new(),
            faults,
        }
    }

    /// A nested object; absent and null read as an empty one.
    pub fn object(&mut self, name: &'static str) -> Fields<'a> {
        let value = self.raw(name);
        Fields::new(self.pointer_to(name), value, self.faults)
    }

    /// A nested object that may be left out.
    pub fn optional_object(&mut self, name: &'static str) -> Option<Fields<'a>> {
        let value = self.raw(name)?;
        Some(Fields::new(self.pointer_to(name), Some(value), self.faults))
    }

    /// A nested object that reads as `value` instead of what the document has.
    pub fn instead<'b>(&mut self, name: &'static str, value: &'b Value) -> Fields<'b>
    where
        'a: 'b,
    {
        self.known.push(name);
        Fields::new(self.pointer_to(name), Some(value), self.faults)
    }

    /// The value of a field; null counts as absent.
    pub fn raw(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.object
            .and_then(|object| object.get(name))
            .filter(|value| !value.is_null())
    }

    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.raw(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.fault(name, "type", "must be a string");
        }
        text
    }

    pub fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.raw(name) else {
            return default;
        };
        value.as_bool().unwrap_or_else(|| {
            self.fault(name, "type", "must be true or false");
            default
        })
    }

    /// An integer in `low..=high`, or `default` if it is absent or invalid.
    pub fn integer(&mut self, name: &'static str, default: i64, low: i64, high: i64) -> i64 {
        self.optional_integer(name, low, high).unwrap_or(default)
    }

    pub fn optional_integer(&mut self, name: &'static str, low: i64, high: i64) -> Option<i64> {
        let value = self.raw(name)?;
        if !value.is_number() {
            self.fault(name, "type", "must be an integer");
            return None;
        }
        let whole = value.as_i64().or_else(|| {
            let number = value.as_f64()?;
            (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
        });
        let inside = whole.filter(|number| (low..=high).contains(number));
        if inside.is_none() {
            self.fault(name, "range", format!("must be an integer from {low} to {high}"));
        }
        inside
    }

    /// A number for which `allowed` holds; `rule` describes it in words ("must be > 0").
    pub fn number(
        &mut self,
        name: &'static str,
        default: f64,
        rule: &str,
        allowed: impl Fn(f64) -> bool,
    ) -> f64 {
        let Some(value) = self.raw(name) else {
            return default;
        };
        let Some(number) = value.as_f64() else {
            self.fault(name, "type", "must be a number");
            return default;
        };
        if !number.is_finite() || !allowed(number) {
            self.fault(name, "range", rule);
            return default;
        }
        number
    }

    /// As [`Fields::number`], where there is no default.
    pub fn optional_number(
        &mut self,
        name: &'static str,
        rule: &str,
        allowed: impl Fn(f64) -> bool,
    ) -> Option<f64> {
        self.raw(name)?;
        let number = self.number(name, f64::NAN, rule, allowed);
        (!number.is_nan()).then_some(number)
    }

    /// One of a fixed set of words.
    pub fn choice<T: Copy>(&mut self, name: &'static str, default: T, choices: &[(&str, T)]) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, choice)) => *choice,
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
                self.fault(name, "range", format!("must be one of {}", words.join(", ")));
                default
            }
        }
    }

    /// Takes over a fault of a part that was read by itself.
    pub fn take(&self, fault: FieldError) {
        self.faults.borrow_mut().push(fault);
    }

    pub fn fault(&self, name: &str, code: &str, message: impl Into<String>) {
        let pointer = self.pointer_to(name);
        self.faults
            .borrow_mut()
            .push(FieldError::new(pointer, code, message));
    }

    /// Ends the object: fields that were not read are faults. Those in `planned` are not implemented in this version.
    pub fn finish(self, planned: &[&str]) {
        let Some(object) = self.object else { return };
        for (name, value) in object {
            if self.known.contains(&name.as_str()) {
                continue;
            }
            if !planned.contains(&name.as_str()) {
                self.fault(name, "unknown_field", "unknown field");
            } else if !value.is_null() {
                self.fault(
                    name,
                    "not_supported",
                    "not implemented in this version; leave the field out",
                );
            }
        }
    }

    fn pointer_to(&self, name: &str) -> String {
        let shown: String = name.chars().take(80).collect();
        format!("{}/{}", self.pointer, shown.replace('~', "~0").replace('/', "~1"))
    }
}
