//! The wire format of inference requests and responses: JSON, followed by tensors as raw bytes (the binary extension) if
//! `inference-header-content-length` gives the length of the JSON. Independent of models.

mod elements;

use axum::http::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

pub use self::elements::{Data, Values, malformed};
use self::elements::{split_floats, split_strings};
use crate::{
    error::Result,
    http::requests::{duplicates, json},
};

/// Length of the JSON before the binary tensors, in requests and responses.
pub const JSON_LENGTH: &str = "inference-header-content-length";

/// The supported data types of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Datatype {
    /// Byte strings. In JSON: base64 for images, text for labels. In binary: each preceded by its length, four bytes, little-endian.
    Bytes,
    /// 32-bit floats, little-endian in binary.
    Fp32,
}

/// The JSON of a request. A field that is null is as if it were absent.
#[derive(Deserialize, ToSchema)]
pub struct InferRequest {
    /// Returned in the response.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default, deserialize_with = "json::object")]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    pub inputs: Vec<InputTensor>,
    /// All outputs if empty.
    #[serde(default, deserialize_with = "json::or_default")]
    pub outputs: Vec<OutputRequest>,
}

#[derive(Deserialize, ToSchema)]
pub struct InputTensor {
    pub name: String,
    #[serde(deserialize_with = "json::whole_numbers")]
    pub shape: Vec<i64>,
    pub datatype: Datatype,
    #[serde(default, deserialize_with = "json::object")]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// Flat or nested; absent if the tensor is binary (`binary_data_size`).
    // Taken out by [`read`].
    #[serde(default)]
    #[schema(value_type = Option<Vec<Value>>)]
    pub data: Option<Data>,
}

#[derive(Deserialize, ToSchema)]
pub struct OutputRequest {
    pub name: String,
    /// `binary_data`: return the tensor as raw bytes. `classification`: return this many classes as `probability:index:label`.
    #[serde(default, deserialize_with = "json::object")]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
}

/// The JSON of a response, for the API description; [`write`] builds it.
#[derive(Serialize, ToSchema)]
pub struct InferResponse {
    model_name: String,
    model_version: String,
    /// Id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<AnsweredTensor>,
}

#[derive(Serialize, ToSchema)]
pub struct AnsweredTensor {
    name: String,
    datatype: Datatype,
    shape: Vec<usize>,
    /// Flat; absent if the tensor is binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Value>>)]
    data: Option<Value>,
    /// `binary_data_size`: bytes of a binary tensor; these follow the JSON in the order of the outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
}

/// A parsed request.
pub struct Inference {
    pub request: InferRequest,
    /// The elements of the input: image files, or the bytes of 32-bit floats, one per image.
    pub elements: Vec<Bytes>,
}

pub struct OutputTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values,
    pub binary: bool,
}

/// What the header says of the JSON's length, if it is there.
///
/// # Errors
/// It is no length.
pub fn json_length(headers: &HeaderMap) -> Result<Option<usize>> {
    let Some(length) = headers.get(JSON_LENGTH) else {
        return Ok(None);
    };
    let length = length.to_str().ok().and_then(|length| length.parse().ok());
    length
        .map(Some)
        .ok_or_else(|| malformed(format!("the header `{JSON_LENGTH}` is not a valid length")))
}

/// Parses a body. `json_length` is the value of the header, if any.
///
/// # Errors
/// A sentence about the first fault found.
pub fn read(body: &Bytes, json_length: Option<usize>) -> Result<Inference> {
    let length = json_length.unwrap_or(body.len());
    if length > body.len() {
        return Err(malformed(
            "the header `inference-header-content-length` is larger than the body",
        ));
    }
    let document = &body[..length];
    // Not by way of JSON values, of which a number takes 32 bytes.
    let mut request: InferRequest = duplicates::refuse(document, &["inputs", "data"])
        .and_then(|()| serde_json::from_slice(document))
        .map_err(|fault| malformed(format!("the JSON is not an inference request: {fault}")))?;
    let [input] = request.inputs.as_mut_slice() else {
        return Err(malformed("send exactly one input"));
    };
    let images = input.shape.first().copied().unwrap_or(0).max(0) as usize;
    let binary = body.slice(length..);
    let elements = match (input.parameters.get("binary_data_size"), input.data.take()) {
        (Some(size), None) => {
            if size.as_u64() != Some(binary.len() as u64) {
                return Err(malformed(
                    "`binary_data_size` does not match the number of bytes after the JSON",
                ));
            }
            match input.datatype {
                Datatype::Bytes => split_strings(&binary)?,
                Datatype::Fp32 => split_floats(&binary, images)?,
            }
        }
        (None, Some(data)) if binary.is_empty() => match input.datatype {
            Datatype::Bytes => data.into_strings()?,
            Datatype::Fp32 => split_floats(&data.into_floats()?, images)?,
        },
        _ => {
            return Err(malformed(
                "an input must have either `data` or, with the binary extension, `binary_data_size`",
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
            "the input has the shape {:?} but {} elements",
            input.shape,
            elements.len()
        );
        return Err(malformed(message));
    }
    Ok(Inference { request, elements })
}

/// Writes a response: its body and, if any tensor is binary, the length of its JSON.
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
