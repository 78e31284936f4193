//! Duplicate fields in JSON that is read straight into a form: serde passes over those that the form does not have.

use std::{collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Message for a duplicate field.
pub const TWICE: &str = "an object has a duplicate field";

/// Refuses a document in which an object, at any depth, has a field twice. `data` is the place of long lists, in fields' names from the outside:
/// what is in there is not looked at.
///
/// # Errors
/// It has one, or is not valid JSON.
pub fn refuse(document: &[u8], data: &[&str]) -> Result<(), serde_json::Error> {
    let mut text = serde_json::Deserializer::from_slice(document);
    Part { data: Some(data) }.deserialize(&mut text)?;
    text.end()
}

/// A part of a document. `data` is what is left of the way to the long lists; none beside that way.
#[derive(Clone, Copy)]
struct Part<'n> {
    data: Option<&'n [&'n str]>,
}

impl<'n> Part<'n> {
    /// The value of a field of this part.
    fn field(self, name: &str) -> Self {
        let way = self.data.and_then(<[_]>::split_first);
        Self {
            data: way.filter(|(first, _)| **first == name).map(|(_, rest)| rest),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.data {
            Some([]) => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            fields.next_value_seed(self.field(&name))?;
            if !names.insert(name) {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(text: &str) -> bool {
        match refuse(text.as_bytes(), &["inputs", "data"]) {
            Ok(()) => false,
            Err(why) => {
                assert!(why.to_string().starts_with(TWICE), "{text}: {why}");
                true
            }
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused_wherever_it_is() {
        for twice in [
            r#"{"other": 1, "other": 2}"#,
            r#"{"other": 1, "oth\u0065r": 1}"#,
            r#"{"other": {"a": 0.5, "a": null}}"#,
            r#"{"inputs": [{"name": "x", "other": 1, "data": [1], "other": true}]}"#,
            r#"{"inputs": [{"data": 1, "data": 2}]}"#,
            r#"{"inputs": [{"parameters": {"data": [{"a": "1", "a": 1}]}}]}"#,
            r#"{"outputs": [[{"a": [{"b": 1, "c": 1, "b": 1}]}]]}"#,
            r#"{"data": {"a": 1, "a": 1}}"#,
        ] {
            assert!(is_refused(twice), "{twice}");
        }
        for once in [
            r#"{"inputs": [{"data": [[1, -2.5], ["a"]]}, {"data": 1}], "outputs": [{"a": 1}, {"a": 1}]}"#,
            r#"{"a": {"a": {"a": 1}}, "b": {"a": 1}}"#,
            "[]",
        ] {
            assert!(!is_refused(once), "{once}");
        }
        assert!(refuse(b"{} 1", &[]).is_err());
    }
}
