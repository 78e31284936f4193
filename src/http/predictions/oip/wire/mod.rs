//! Inference requests and answers as they go over the wire: JSON, and after it, where `inference-header-content-length` says how long
//! the JSON is, tensors as bytes (the binary extension). No model is known here.

mod elements;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

pub use self::elements::{Values, malformed};
use self::elements::{floats_of, split_floats, split_strings, strings_of};
use crate::{error::Result, http::requests::json};

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
    #[serde(default, deserialize_with = "json::object")]
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
    #[serde(default, deserialize_with = "json::object")]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// Flat or nested; none where the tensor is binary (`binary_data_size`).
    #[serde(default, deserialize_with = "json::value")]
    #[schema(value_type = Option<Vec<Value>>)]
    pub data: Option<Value>,
}

#[derive(Deserialize, ToSchema)]
pub struct OutputRequest {
    pub name: String,
    /// `binary_data`: whether the tensor shall come as bytes. `classification`: that many classes as `probability:index:label`.
    #[serde(default, deserialize_with = "json::object")]
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
    /// The elements of the first input: image files, or the bytes of 32-bit floats, one for each image.
    pub elements: Vec<Bytes>,
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
    let images = input.shape.first().copied().unwrap_or(0).max(0) as usize;
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
                Datatype::Fp32 => split_floats(&binary, images)?,
            }
        }
        (None, Some(data)) if binary.is_empty() => match input.datatype {
            Datatype::Bytes => strings_of(data)?,
            Datatype::Fp32 => split_floats(&floats_of(data)?, images)?,
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
    if elements.is_empty() || elements.len() != images || !expected {
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

#[cfg(test)]
mod tests;
