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
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [2, 1], "data": [["AAE="], ["Ag=="]]});
    let found = read_json(json!({"id": "7", "inputs": [input]})).unwrap();
    assert_eq!(found.request.id.as_deref(), Some("7"));
    assert_eq!(found.elements, [&[0u8, 1][..], &[2]]);
    let input =
        json!({"name": "image", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11}});
    let found = with_binary(input, b"\x02\0\0\0ab\x01\0\0\0c").unwrap();
    assert_eq!(found.elements, [&b"ab"[..], b"c"]);
}

#[test]
fn floats_come_as_numbers_or_as_bytes() {
    let floats = [1.0f32, -2.5, 3.0, 0.0];
    let bytes: Vec<u8> = floats.iter().copied().flat_map(f32::to_le_bytes).collect();
    let halves = [&bytes[..8], &bytes[8..]];
    let nested = json!({"name": "input", "datatype": "FP32", "shape": [2, 2], "data": [[1, -2.5], [3, 0]]});
    assert_eq!(read_json(json!({"inputs": [nested]})).unwrap().elements, halves);
    let flat = json!({"name": "input", "datatype": "FP32", "shape": [2, 2], "data": [1, -2.5, 3, 0]});
    assert_eq!(read_json(json!({"inputs": [flat]})).unwrap().elements, halves);
    let binary =
        json!({"name": "input", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}});
    assert_eq!(with_binary(binary, &bytes).unwrap().elements, halves);
}

#[test]
fn a_null_is_as_good_as_nothing_and_a_whole_number_is_one_however_it_is_written() {
    let input = json!({"name": "input", "datatype": "FP32", "shape": [2.0, 1e0], "data": [[1.0], [2]], "parameters": null});
    let found = read_json(json!({"id": null, "inputs": [input], "outputs": null, "parameters": {"a": null}}))
        .unwrap();
    assert_eq!(found.request.inputs[0].shape, [2, 1]);
    assert!(
        found.request.id.is_none() && found.request.parameters.is_empty() && found.request.outputs.is_empty()
    );
    let null = json!({"name": "image", "datatype": "BYTES", "shape": [1], "data": null, "parameters": {"binary_data_size": 5}});
    assert_eq!(with_binary(null, b"\x01\0\0\0a").unwrap().elements, [&b"a"[..]]);
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let data = |datatype: &str, data: Value| {
        let input = json!({"name": "image", "datatype": datatype, "shape": [3], "data": data});
        read_json(json!({"inputs": [input]}))
    };
    for other in [json!(1), json!(null), json!(true), json!({"b64": "AAE="})] {
        let outcome = data("BYTES", json!(["AAE=", ["AAE=", other]]));
        assert!(
            detail(outcome).contains("element 2 of `data` is not a string"),
            "{other}"
        );
    }
    for other in [json!("1"), json!(null), json!(true), json!({})] {
        let outcome = data("FP32", json!([0.5, 1, other]));
        assert!(detail(outcome).contains("must be numbers"), "{other}");
    }
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
            read_json(json!({"inputs": [{"name": "image", "datatype": "INT8", "shape": [1], "data": [1]}]})),
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
        (
            read_json(
                json!({"inputs": [{"name": "input", "datatype": "FP32", "shape": [0.5], "data": [1]}]}),
            ),
            "whole number",
        ),
        (
            read(&Bytes::from_static(br#"{"inputs": [], "inputs": []}"#), None),
            "duplicate field",
        ),
        (
            read(
                &Bytes::from_static(br#"{"inputs": [], "more": [{"a": 1, "a": 2}]}"#),
                None,
            ),
            "duplicate field",
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
