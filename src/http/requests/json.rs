//! Parses JSON from clients so that it is unambiguous: an object with a duplicate field, at any depth, is refused, because another parser
//! could use the other value (RFC 8259, section 4). So is a document of very many objects, lists or values, which take far more memory than text.

use std::{cell::Cell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{duplicates::TWICE, nulls};
use crate::error::{Error, FieldError, Kind, Result};

/// Messages for a document that would not fit the memory.
const CROWDED: &str = "the body has too many objects and lists";
const LONG: &str = "the body has too many values";
/// So many objects and lists any document may have, and another one for each [`BYTES_EACH`]: `{"":0}` takes 7 bytes of text and 650 of memory.
/// The images of the longest requests, one list for each row of each channel, need less than that.
const MOST_NESTED: usize = 100_000;
const BYTES_EACH: usize = 64;
/// So many values any list may have, all lists together, and another one for each [`BYTES_PER_VALUE`]: `0,` takes 2 bytes of text and 32 of memory.
/// Numbers of tensors do not become values, see `predictions/oip/wire`.
const MOST_VALUES: usize = 1_000_000;
const BYTES_PER_VALUE: usize = 16;

/// Parses a JSON document.
///
/// # Errors
/// `json-invalid`.
pub fn parse(bytes: &[u8]) -> Result<Value> {
    let nested = Cell::new(MOST_NESTED + bytes.len() / BYTES_EACH);
    let values = Cell::new(MOST_VALUES + bytes.len() / BYTES_PER_VALUE);
    let reader = Reader {
        nested: &nested,
        values: &values,
    };
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let document = reader.deserialize(&mut text);
    let whole = document.and_then(|document| text.end().map(|()| document));
    whole.map_err(|error| unreadable(&error))
}

/// Parses a JSON document in which a field that is null is as if it were absent.
///
/// # Errors
/// `json-invalid`.
pub fn parse_set(bytes: &[u8]) -> Result<Value> {
    let mut document = parse(bytes)?;
    nulls::drop_fields(&mut document);
    Ok(document)
}

/// Parses a JSON document of a given form, which `form` describes; nulls are read as in [`parse_set`].
///
/// # Errors
/// `json-invalid`, or `invalid` if the document does not have that form.
pub fn parse_as<T: DeserializeOwned>(bytes: &[u8], form: &str) -> Result<T> {
    serde_json::from_value(parse_set(bytes)?).map_err(|_| {
        let fault = FieldError::new("", "type", format!("must be {form}"));
        Error::fields("the body is invalid", vec![fault])
    })
}

/// A part of a document whose form is known otherwise: an object, of which nulls are no part. There may be so many objects, lists and values in
/// it as nobody needs more of.
///
/// # Errors
/// It is none, or has a field twice, or is too large.
pub fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    const MOST: usize = 1000;
    let (nested, values) = (Cell::new(MOST), Cell::new(MOST));
    let reader = Reader {
        nested: &nested,
        values: &values,
    };
    let mut read = reader.deserialize(deserializer)?;
    nulls::drop_fields(&mut read);
    match read {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        _ => Err(D::Error::custom("an object is expected")),
    }
}

/// What may be null, and then is as if it were absent.
///
/// # Errors
/// Those of what is read.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Whole numbers, however they are written.
///
/// # Errors
/// One of them is none.
pub fn whole_numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
    let numbers = Vec::<Number>::deserialize(deserializer)?.into_iter();
    let read = |number: Number| number.as_i64().or_else(|| number.as_f64().and_then(whole));
    let read =
        numbers.map(|number| read(number).ok_or_else(|| D::Error::custom("a whole number is expected")));
    read.collect()
}

fn unreadable(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let ours = [TWICE, CROWDED, LONG]
        .into_iter()
        .find(|what| text.starts_with(what));
    let what = ours.unwrap_or("the body is not valid JSON");
    let detail = format!("{what}: line {}, column {}", error.line(), error.column());
    Error::new(Kind::Malformed, "json-invalid", detail)
}

/// Largest number whose neighbours are all different numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// `10.0` is the number 10, and as good as that where a whole number is wanted (JSON Schema, 4.2.3): some languages write no other.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// Parses as serde_json does, but refuses duplicate fields, knows whole numbers, and counts objects and lists.
#[derive(Clone, Copy)]
struct Reader<'r> {
    /// How many more objects and lists there may be.
    nested: &'r Cell<usize>,
    /// How many more values in lists.
    values: &'r Cell<usize>,
}

impl Reader<'_> {
    fn enter<E: serde::de::Error>(self) -> Result<(), E> {
        take_one(self.nested, CROWDED)
    }
}

fn take_one<E: serde::de::Error>(room: &Cell<usize>, message: &str) -> Result<(), E> {
    let left = room.get().checked_sub(1);
    room.set(left.ok_or_else(|| E::custom(message))?);
    Ok(())
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(whole(value).map_or_else(|| value.into(), Value::from))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            take_one(self.values, LONG)?;
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(self)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_is_there_twice_is_refused_however_deep() {
        for twice in [
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": 1, "\u0061": 1}"#,
            r#"{"a": {"b": null, "b": null}}"#,
            r#"[[{"x": [{"y": 1, "z": 1, "y": 1}]}]]"#,
        ] {
            let refused = parse(twice.as_bytes()).unwrap_err();
            assert_eq!(
                (refused.kind(), refused.slug()),
                (Kind::Malformed, "json-invalid")
            );
            assert!(refused.detail().starts_with(TWICE), "{}", refused.detail());
        }
        assert!(parse(br#"{"a": {"a": {"a": 1}}, "b": {"a": 1}}"#).is_ok());
    }

    #[test]
    fn as_many_objects_and_lists_as_there_is_text_for() {
        let list = |element: &str, count| format!("[{}]", vec![element; count].join(","));
        assert!(parse(list("{}", MOST_NESTED - 1).as_bytes()).is_ok());
        let long = format!("[\"{}\"]", "x".repeat(BYTES_EACH));
        assert!(parse(list(&long, MOST_NESTED + 9).as_bytes()).is_ok());
        assert!(parse(list("0", 4 * MOST_NESTED).as_bytes()).is_ok());
        for crowded in ["{}", "[]", "{\"\":0}"] {
            let refused = parse(list(crowded, 2 * MOST_NESTED).as_bytes()).unwrap_err();
            assert!(refused.detail().starts_with(CROWDED), "{}", refused.detail());
        }
        assert!(parse(list("0", MOST_VALUES).as_bytes()).is_ok());
        let refused = parse(list("0", 2 * MOST_VALUES).as_bytes()).unwrap_err();
        assert!(refused.detail().starts_with(LONG), "{}", refused.detail());
        let long = format!("\"{}\"", "x".repeat(2 * BYTES_PER_VALUE));
        assert!(parse(list(&long, 2 * MOST_VALUES).as_bytes()).is_ok());
    }

    #[test]
    fn an_object_within_another_form_is_a_small_one() {
        let read = |text: &str| object(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(
            read(r#"{"a": 1, "b": null}"#).unwrap(),
            json!({"a": 1}).as_object().unwrap().clone()
        );
        assert!(read("null").unwrap().is_empty());
        let many = |element: &str| format!("{{\"a\": [{}]}}", vec![element; 1001].join(","));
        for wrong in ["[]", "1", r#"{"a": 1, "a": 1}"#, &many("0"), &many("{}")] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for wrong in [
            "",
            "{",
            "nul",
            "{\"a\": 1,}",
            "1 2",
            "\"\u{1}\"",
            &"[".repeat(1000),
        ] {
            let refused = parse(wrong.as_bytes()).unwrap_err();
            assert!(
                refused.detail().starts_with("the body is not valid JSON: line"),
                "{}",
                refused.detail()
            );
        }
    }

    #[test]
    fn another_form_is_another_fault_than_no_json() {
        #[derive(Debug, Deserialize)]
        struct Form {
            #[serde(default)]
            _parameters: Map<String, Value>,
            #[serde(default)]
            _data: Option<Value>,
        }
        let kind = |text: &str| parse_as::<Form>(text.as_bytes(), "a form").map_err(|error| error.kind());
        for right in [
            "{}",
            r#"{"_parameters": {"a": null}, "_data": null}"#,
            r#"{"_parameters": null}"#,
        ] {
            assert!(kind(right).is_ok(), "{right}");
        }
        for other in ["[1]", "null", r#"{"_parameters": 1}"#] {
            assert_eq!(kind(other).unwrap_err(), Kind::Invalid, "{other}");
        }
        for unreadable in [
            "{",
            r#"{"_data": 1, "_data": 1}"#,
            r#"{"_data": [{"a": 1, "a": 1}]}"#,
            r#"{"_parameters": {"a": {"b": 1, "b": 1}}}"#,
        ] {
            assert_eq!(kind(unreadable).unwrap_err(), Kind::Malformed, "{unreadable}");
        }
    }

    proptest! {
        #[test]
        fn everything_else_is_read_as_serde_json_reads_it(document in documents()) {
            let text = document.to_string();
            let expected: Value = with_whole_numbers(serde_json::from_str(&text).unwrap());
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        }
    }

    fn with_whole_numbers(document: Value) -> Value {
        match document {
            Value::Number(number) if number.is_f64() => number
                .as_f64()
                .and_then(whole)
                .map_or(Value::Number(number), Value::from),
            Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (name, with_whole_numbers(value)))
                .collect(),
            other => other,
        }
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for (text, number) in [
            ("10.0", 10),
            ("1e3", 1000),
            ("-0.0", 0),
            ("9007199254740992.0", 1_i64 << 53),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), Value::from(number), "{text}");
        }
        for text in ["0.5", "1e300", "9007199254740994.0"] {
            assert!(parse(text.as_bytes()).unwrap().is_f64(), "{text}");
        }
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }
}
