//! Inference requests and answers as they go over the wire: JSON, and after it, where `inference-header-content-length` says how long
//! the JSON is, tensors as bytes (the binary extension). No model is known here.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::error::{Error, Kind, Result};

/// The two kinds of tensors that are taken and given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Datatype {
    /// Strings of bytes: in JSON as base64 where they are images, as text where they are labels; in binary each after its length, four
    /// bytes, little-endian.
    Bytes,
    /// 32-bit floats, little-endian in binary.
    Fp32,
}

/// The JSON of a request.
#[derive(Deserialize, ToSchema)]
pub struct InferRequest {
    /// Comes back with the answer.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    pub inputs: Vec<InputTensor>,
    /// All where there are none.
    #[serde(default)]
    pub outputs: Vec<OutputRequest>,
}

#[derive(Deserialize, ToSchema)]
pub struct InputTensor {
    pub name: String,
    pub shape: Vec<i64>,
    pub datatype: Datatype,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// Flat or nested; none where the tensor is binary (`binary_data_size`).
    #[serde(default)]
    #[schema(value_type = Option<Vec<Value>>)]
    pub data: Option<Value>,
}

#[derive(Deserialize, ToSchema)]
pub struct OutputRequest {
    pub name: String,
    /// `binary_data`: whether the tensor shall come as bytes. `classification`: that many classes as `probability:index:label`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
}

/// The JSON of an answer, for its description: [`write`] makes it.
#[derive(Serialize, ToSchema)]
pub struct InferResponse {
    model_name: String,
    model_version: String,
    /// The request's.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<AnsweredTensor>,
}

#[derive(Serialize, ToSchema)]
pub struct AnsweredTensor {
    name: String,
    datatype: Datatype,
    shape: Vec<usize>,
    /// Flat; none where the tensor is binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Value>>)]
    data: Option<Value>,
    /// `binary_data_size`: bytes of a binary tensor, which follow the JSON in the order of the outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
}

/// A request with its tensors taken apart.
pub struct Inference {
    pub request: InferRequest,
    /// The elements of the first input: image files, or the bytes of 32-bit floats, one for each picture.
    pub elements: Vec<Bytes>,
}

/// What an output is made of.
pub enum Values {
    Floats(Vec<f32>),
    Strings(Vec<String>),
}

pub struct OutputTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values,
    pub binary: bool,
}

/// Reads a body. `json_length` is what the header says, where the request has it.
///
/// # Errors
/// A sentence about the first thing that is wrong.
pub fn read(body: &Bytes, json_length: Option<usize>) -> Result<Inference> {
    let length = json_length.unwrap_or(body.len());
    if length > body.len() {
        return Err(malformed(
            "the header `inference-header-content-length` is larger than the body",
        ));
    }
    let request: InferRequest = serde_json::from_slice(&body[..length])
        .map_err(|fault| malformed(format!("the JSON is no inference request: {fault}")))?;
    let [input] = request.inputs.as_slice() else {
        return Err(malformed("send exactly one input"));
    };
    let pictures = input.shape.first().copied().unwrap_or(0).max(0) as usize;
    let binary = body.slice(length..);
    let elements = match (input.parameters.get("binary_data_size"), &input.data) {
        (Some(size), None) => {
            if size.as_u64() != Some(binary.len() as u64) {
                return Err(malformed(
                    "`binary_data_size` is not the length of what follows the JSON",
                ));
            }
            match input.datatype {
                Datatype::Bytes => split_strings(&binary)?,
                Datatype::Fp32 => split_floats(&binary, pictures)?,
            }
        }
        (None, Some(data)) if binary.is_empty() => match input.datatype {
            Datatype::Bytes => strings_of(data)?,
            Datatype::Fp32 => split_floats(&floats_of(data)?, pictures)?,
        },
        _ => {
            return Err(malformed(
                "an input has either `data` or, with the binary extension, `binary_data_size`",
            ));
        }
    };
    let expected = match input.datatype {
        // `[N]` or `[N, 1]`.
        Datatype::Bytes => input.shape.iter().skip(1).all(|length| *length == 1),
        Datatype::Fp32 => true,
    };
    if elements.is_empty() || elements.len() != pictures || !expected {
        let message = format!(
            "the input has the shape {:?} and {} elements",
            input.shape,
            elements.len()
        );
        return Err(malformed(message));
    }
    Ok(Inference { request, elements })
}

/// Writes an answer: its body and, where something in it is binary, the length of its JSON.
pub fn write(
    model_name: String,
    model_version: String,
    id: Option<String>,
    outputs: &[OutputTensor],
) -> (Vec<u8>, Option<usize>) {
    let mut binary = Vec::new();
    let answered = outputs.iter().map(|output| {
        let bytes = output.binary.then(|| output.values.to_bytes());
        let answered = AnsweredTensor {
            name: output.name.clone(),
            datatype: match output.values {
                Values::Floats(_) => Datatype::Fp32,
                Values::Strings(_) => Datatype::Bytes,
            },
            shape: output.shape.clone(),
            data: bytes.is_none().then(|| output.values.to_json()),
            parameters: bytes
                .as_ref()
                .map(|bytes| json!({"binary_data_size": bytes.len()})),
        };
        binary.extend(bytes.unwrap_or_default());
        answered
    });
    let head = InferResponse {
        outputs: answered.collect(),
        model_name,
        model_version,
        id,
    };
    let mut body = json!(head).to_string().into_bytes();
    let length = body.len();
    let any = outputs.iter().any(|output| output.binary);
    body.extend(binary);
    (body, any.then_some(length))
}

impl Values {
    fn to_bytes(&self) -> Vec<u8> {
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

    fn to_json(&self) -> Value {
        match self {
            Values::Floats(values) => json!(values),
            Values::Strings(values) => json!(values),
        }
    }
}

/// Each after its length.
fn split_strings(bytes: &Bytes) -> Result<Vec<Bytes>> {
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

/// The floats of `pictures` pictures, as bytes: as many for each.
fn split_floats(bytes: &Bytes, pictures: usize) -> Result<Vec<Bytes>> {
    if pictures == 0 || bytes.is_empty() || !bytes.len().is_multiple_of(4 * pictures) {
        return Err(malformed("the tensor has not as many numbers as its shape says"));
    }
    let each = bytes.len() / pictures;
    Ok((0..pictures)
        .map(|index| bytes.slice(index * each..(index + 1) * each))
        .collect())
}

fn strings_of(data: &Value) -> Result<Vec<Bytes>> {
    let mut strings = Vec::new();
    flatten(data, &mut |value| {
        let text = value
            .as_str()
            .ok_or_else(|| malformed("BYTES are strings of base64"))?;
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| malformed("an image is no valid base64"))?;
        strings.push(Bytes::from(bytes));
        Ok(())
    })?;
    Ok(strings)
}

fn floats_of(data: &Value) -> Result<Bytes> {
    let mut bytes = Vec::new();
    flatten(data, &mut |value| {
        let number = value.as_f64().ok_or_else(|| malformed("FP32 data are numbers"))?;
        bytes.extend((number as f32).to_le_bytes());
        Ok(())
    })?;
    Ok(bytes.into())
}

/// serde_json bounds how deep the nesting can be.
fn flatten(data: &Value, each: &mut impl FnMut(&Value) -> Result<()>) -> Result<()> {
    match data {
        Value::Array(values) => values.iter().try_for_each(|value| flatten(value, each)),
        value => each(value),
    }
}

pub fn malformed(detail: impl Into<String>) -> Error {
    Error::new(Kind::Malformed, "inference-request-invalid", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(body: Value) -> Result<Inference> {
        read(&Bytes::from(body.to_string()), None)
    }

    fn with_binary(input: Value, binary: &[u8]) -> Result<Inference> {
        let json = json!({"inputs": [input]}).to_string();
        let body = Bytes::from([json.as_bytes(), binary].concat());
        read(&body, Some(json.len()))
    }

    fn detail(outcome: Result<Inference>) -> String {
        match outcome {
            Ok(_) => panic!("it was read"),
            Err(error) => error.detail().to_owned(),
        }
    }

    #[test]
    fn images_come_as_base64_or_as_bytes() {
        let input =
            json!({"name": "image", "datatype": "BYTES", "shape": [2, 1], "data": [["AAE="], ["Ag=="]]});
        let found = read_json(json!({"id": "7", "inputs": [input]})).unwrap();
        assert_eq!(found.request.id.as_deref(), Some("7"));
        assert_eq!(found.elements, [&[0u8, 1][..], &[2]]);
        let input = json!({"name": "image", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11}});
        let found = with_binary(input, b"\x02\0\0\0ab\x01\0\0\0c").unwrap();
        assert_eq!(found.elements, [&b"ab"[..], b"c"]);
    }

    #[test]
    fn floats_come_as_numbers_or_as_bytes() {
        let floats = [1.0f32, -2.5, 3.0, 0.0];
        let bytes: Vec<u8> = floats.iter().copied().flat_map(f32::to_le_bytes).collect();
        let halves = [&bytes[..8], &bytes[8..]];
        let nested =
            json!({"name": "input", "datatype": "FP32", "shape": [2, 2], "data": [[1, -2.5], [3, 0]]});
        assert_eq!(read_json(json!({"inputs": [nested]})).unwrap().elements, halves);
        let flat = json!({"name": "input", "datatype": "FP32", "shape": [2, 2], "data": [1, -2.5, 3, 0]});
        assert_eq!(read_json(json!({"inputs": [flat]})).unwrap().elements, halves);
        let binary = json!({"name": "input", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}});
        assert_eq!(with_binary(binary, &bytes).unwrap().elements, halves);
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let input = |shape: Value| json!({"name": "image", "datatype": "BYTES", "shape": shape, "parameters": {"binary_data_size": 5}});
        for (outcome, word) in [
            (with_binary(input(json!([1])), b"\x09\0\0\0a"), "cut short"),
            (
                with_binary(input(json!([1])), b"\x01\0\0\0ab"),
                "binary_data_size",
            ),
            (with_binary(input(json!([2])), b"\x01\0\0\0a"), "shape"),
            (with_binary(input(json!([1, 2])), b"\x01\0\0\0a"), "shape"),
            (with_binary(input(json!([-1])), b"\x01\0\0\0a"), "shape"),
            (read(&Bytes::from_static(b"{}"), Some(9)), "larger than the body"),
            (read(&Bytes::from_static(b"{}"), None), "inputs"),
            (read_json(json!({"inputs": []})), "exactly one"),
            (
                read_json(
                    json!({"inputs": [{"name": "image", "datatype": "INT8", "shape": [1], "data": [1]}]}),
                ),
                "INT8",
            ),
            (
                read_json(
                    json!({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["%"]}]}),
                ),
                "base64",
            ),
            (
                read_json(
                    json!({"inputs": [{"name": "input", "datatype": "FP32", "shape": [3], "data": [1, 2]}]}),
                ),
                "as many numbers",
            ),
        ] {
            let detail = detail(outcome);
            assert!(detail.contains(word), "{word}: {detail}");
        }
    }

    #[test]
    fn answers_are_written_as_json_and_bytes() {
        let output = |name: &str, values, binary| OutputTensor {
            name: name.into(),
            shape: vec![1, 2],
            values,
            binary,
        };
        let outputs = [
            output("p", Values::Floats(vec![0.25, 0.75]), true),
            output("q", Values::Floats(vec![0.5, 1.0]), false),
            output("l", Values::Strings(vec!["a".into(), "bc".into()]), true),
        ];
        let written = |outputs: &[OutputTensor]| write("m".into(), "2".into(), Some("7".into()), outputs);
        let (body, length) = written(&outputs);
        let length = length.unwrap();
        let head: Value = serde_json::from_slice(&body[..length]).unwrap();
        assert_eq!(
            head,
            json!({"model_name": "m", "model_version": "2", "id": "7", "outputs": [
                {"name": "p", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
                {"name": "q", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.0]},
                {"name": "l", "datatype": "BYTES", "shape": [1, 2], "parameters": {"binary_data_size": 11}},
            ]})
        );
        let floats = [0.25f32, 0.75].map(f32::to_le_bytes).concat();
        assert_eq!(body[length..], [&floats[..], b"\x01\0\0\0a\x02\0\0\0bc"].concat());
        assert_eq!(written(&outputs[1..2]).1, None);
    }
}
