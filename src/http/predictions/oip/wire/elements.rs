//! The elements of tensors, in JSON and in the binary extension.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, json};

use crate::{
    error::{Error, Kind, Result},
    http::requests::base64_text,
};

/// The data of an output.
pub enum Values {
    Floats(Vec<f32>),
    Strings(Vec<String>),
}

impl Values {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Values::Floats(values) => values.iter().copied().flat_map(f32::to_le_bytes).collect(),
            Values::Strings(values) => {
                let framed = values
                    .iter()
                    .map(|text| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat());
                framed.flatten().collect()
            }
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Values::Floats(values) => json!(values),
            Values::Strings(values) => json!(values),
        }
    }
}

/// Strings, each preceded by its length.
pub(super) fn split_strings(bytes: &Bytes) -> Result<Vec<Bytes>> {
    let cut = || malformed("the binary strings are cut short");
    let mut strings = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes.get(at..at + 4).ok_or_else(cut)?;
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        at += 4;
        if length > bytes.len() - at {
            return Err(cut());
        }
        strings.push(bytes.slice(at..at + length));
        at += length;
    }
    Ok(strings)
}

/// The floats of `images` images as bytes, the same number for each.
pub(super) fn split_floats(bytes: &Bytes, images: usize) -> Result<Vec<Bytes>> {
    if images == 0 || bytes.is_empty() || !bytes.len().is_multiple_of(4 * images) {
        return Err(malformed(
            "the tensor does not have as many numbers as its shape requires",
        ));
    }
    let each = bytes.len() / images;
    Ok((0..images)
        .map(|index| bytes.slice(index * each..(index + 1) * each))
        .collect())
}

/// The elements of an input as its JSON has them, flat or nested.
#[derive(Default)]
pub struct Data {
    /// 32-bit floats, little-endian.
    numbers: Vec<u8>,
    strings: Vec<String>,
    /// Place of the first element that is no string.
    first_of_others: Option<usize>,
    /// Whether one of them is no number either.
    has_others: bool,
}

impl Data {
    /// Image files.
    pub(super) fn into_strings(self) -> Result<Vec<Bytes>> {
        if let Some(index) = self.first_of_others {
            return Err(malformed(format!(
                "the element {index} of `data` is not a string: BYTES are image files in base64"
            )));
        }
        let decoded = self.strings.into_iter().enumerate().map(|(index, text)| {
            let bytes = base64_text::decode(&text);
            bytes
                .map(Bytes::from)
                .map_err(|reason| malformed(format!("the element {index} of `data` is not base64: {reason}")))
        });
        decoded.collect()
    }

    pub(super) fn into_floats(self) -> Result<Bytes> {
        match self.strings.is_empty() && !self.has_others {
            true => Ok(self.numbers.into()),
            false => Err(malformed("FP32 data must be numbers")),
        }
    }

    fn note_no_string(&mut self) {
        let place = self.strings.len();
        self.first_of_others.get_or_insert(place);
    }

    fn note_other(&mut self) {
        self.note_no_string();
        self.has_others = true;
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut data = Data::default();
        Elements(&mut data).deserialize(deserializer)?;
        Ok(data)
    }
}

/// Adds elements as they come. serde_json limits the depth of nesting.
struct Elements<'d>(&'d mut Data);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("numbers or strings")
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.0.note_no_string();
        self.0.numbers.extend((number as f32).to_le_bytes());
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.strings.push(text.to_owned());
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.note_other();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.note_other();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Elements(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        self.0.note_other();
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

pub fn malformed(detail: impl Into<String>) -> Error {
    Error::new(Kind::Malformed, "inference-request-invalid", detail)
}
