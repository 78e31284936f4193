//! The elements of tensors, in JSON and in the binary extension.

use bytes::Bytes;
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

pub(super) fn strings_of(data: &Value) -> Result<Vec<Bytes>> {
    let mut strings = Vec::new();
    flatten(data, &mut |value| {
        let index = strings.len();
        let text = value.as_str().ok_or_else(|| {
            malformed(format!(
                "the element {index} of `data` is not a string: BYTES are image files in base64"
            ))
        })?;
        let bytes = base64_text::decode(text)
            .map_err(|reason| malformed(format!("the element {index} of `data` is not base64: {reason}")))?;
        strings.push(Bytes::from(bytes));
        Ok(())
    })?;
    Ok(strings)
}

pub(super) fn floats_of(data: &Value) -> Result<Bytes> {
    let mut bytes = Vec::new();
    flatten(data, &mut |value| {
        let number = value
            .as_f64()
            .ok_or_else(|| malformed("FP32 data must be numbers"))?;
        bytes.extend((number as f32).to_le_bytes());
        Ok(())
    })?;
    Ok(bytes.into())
}

/// serde_json limits the depth of nesting.
fn flatten(data: &Value, each: &mut impl FnMut(&Value) -> Result<()>) -> Result<()> {
    match data {
        Value::Array(values) => values.iter().try_for_each(|value| flatten(value, each)),
        value => each(value),
    }
}

pub fn malformed(detail: impl Into<String>) -> Error {
    Error::new(Kind::Malformed, "inference-request-invalid", detail)
}
