//! Any bytes as a request of the Open Inference Protocol: JSON, and tensors as raw bytes after it. What is taken has as many elements as its
//! shape says, none of them out of thin air; it takes no memory out of proportion; and what one side writes the other side reads.
//!
//! The first line is the length of the JSON, or `-` where the header is not there; the rest is the body.

#![no_main]

use axum::http::{HeaderMap, HeaderValue};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use finetuned_fuzz::{
    http::{
        predictions::oip::wire::{self, Datatype, Inference, OutputTensor, Values},
        requests::base64_text,
    },
    memory,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[global_allocator]
static MEMORY: memory::Counted = memory::Counted;

/// Most bytes of memory for each byte of a body: `"",` are three bytes, and an empty string is 24, an empty image 32, each in a list that doubles
/// as it grows. Objects count in parameters alone, of which there may be few. Binary tensors are not copied at all.
const FACTOR: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let line = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(bytes.len());
    let body = Bytes::copy_from_slice(bytes.get(line + 1..).unwrap_or(&[]));
    let mut headers = HeaderMap::new();
    if let Ok(length) = HeaderValue::from_bytes(&bytes[..line])
        && length != "-"
    {
        headers.insert(wire::JSON_LENGTH, length);
    }
    let Ok(length) = wire::json_length(&headers) else {
        return;
    };
    let (outcome, most) = memory::most_during(|| wire::read(&body, length));
    assert!(
        most <= (1 << 13) + FACTOR * body.len(),
        "{most} bytes for {}",
        body.len()
    );
    match outcome {
        Ok(inference) => {
            sensible(&inference, &body, length);
            reads_itself(&inference);
        }
        Err(error) => assert!(!error.detail().is_empty() && error.slug() == "inference-request-invalid"),
    }
    text(&body);
    answered(&body);
});

fn sensible(inference: &Inference, body: &Bytes, length: Option<usize>) {
    let [input] = inference.request.inputs.as_slice() else {
        panic!("there is not one input");
    };
    let elements = &inference.elements;
    assert!(!elements.is_empty());
    assert_eq!(elements.len() as i64, input.shape[0]);
    if input.datatype == Datatype::Fp32 {
        let each = elements[0].len();
        assert!(each > 0 && each % 4 == 0);
        assert!(elements.iter().all(|element| element.len() == each));
    }
    let all: usize = elements.iter().map(Bytes::len).sum();
    let is_binary = input.parameters.contains_key("binary_data_size");
    match (is_binary, input.datatype) {
        (true, datatype) => {
            let lengths = if datatype == Datatype::Bytes {
                4 * elements.len()
            } else {
                0
            };
            assert_eq!(all + lengths, body.len() - length.unwrap_or(body.len()));
            let place = body.as_ptr_range();
            let within = |element: &Bytes| element.is_empty() || place.contains(&element.as_ptr());
            assert!(elements.iter().all(within), "binary tensors are not copied");
        }
        (false, Datatype::Bytes) => assert!(all <= body.len()),
        // A number has at least one byte, and another one before the next.
        (false, Datatype::Fp32) => assert!(all <= 4 * body.len()),
    }
}

/// The same elements, sent in each of the ways that there are.
fn reads_itself(inference: &Inference) {
    let input = &inference.request.inputs[0];
    let mut document = json!({"name": input.name, "shape": input.shape, "datatype": input.datatype});
    let binary: Vec<u8> = match input.datatype {
        Datatype::Bytes => {
            let framed = |element: &Bytes| [&(element.len() as u32).to_le_bytes()[..], element].concat();
            inference.elements.iter().flat_map(framed).collect()
        }
        Datatype::Fp32 => inference.elements.concat(),
    };
    document["parameters"] = json!({"binary_data_size": binary.len()});
    let head = json!({"inputs": [document]}).to_string();
    let body = Bytes::from([head.as_bytes(), &binary].concat());
    let again = wire::read(&body, Some(head.len())).unwrap_or_else(|error| panic!("{head}: {error}"));
    assert_eq!(again.elements, inference.elements);
    // An empty file is none in base64, and JSON has no infinite numbers.
    if input.datatype == Datatype::Bytes && inference.elements.iter().all(|element| !element.is_empty()) {
        let texts: Vec<String> = inference
            .elements
            .iter()
            .map(|element| STANDARD.encode(element))
            .collect();
        document["parameters"] = json!({});
        document["data"] = json!(texts);
        let body = Bytes::from(json!({"inputs": [document]}).to_string());
        let again = wire::read(&body, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.elements, inference.elements);
    }
}

/// Base64 as people write it means the bytes that it means.
fn text(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else {
        return;
    };
    match base64_text::decode(text) {
        Ok(bytes) => {
            assert!(!bytes.is_empty() && bytes.len() <= text.len());
            assert_eq!(base64_text::decode(&STANDARD.encode(&bytes)), Ok(bytes));
        }
        Err(reason) => assert!(
            !reason.is_empty() && !reason.contains(char::is_control),
            "{reason:?}"
        ),
    }
}

/// What we answer says where in it everything is.
fn answered(body: &[u8]) {
    let floats: Vec<f32> = body
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect();
    let texts: Vec<String> = body
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    let output = |name: &str, values: Values, length: usize, binary| OutputTensor {
        name: name.to_owned(),
        shape: vec![1, length],
        values,
        binary,
    };
    let outputs = [
        output("p", Values::Floats(floats.clone()), floats.len(), true),
        output("l", Values::Strings(texts.clone()), texts.len(), false),
        output("m", Values::Strings(texts.clone()), texts.len(), true),
    ];
    let (answer, length) = wire::write("m".to_owned(), "1".to_owned(), None, &outputs);
    let length = length.expect("there are binary tensors");
    let head: Value = serde_json::from_slice(&answer[..length]).expect("it is JSON");
    let size = |output: usize| {
        head["outputs"][output]["parameters"]["binary_data_size"]
            .as_u64()
            .unwrap_or(0) as usize
    };
    assert_eq!(answer.len(), length + size(0) + size(2));
    let bytes: Vec<u8> = floats.iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(answer[length..length + size(0)], bytes);
    assert_eq!(head["outputs"][1]["data"], json!(texts));
}
