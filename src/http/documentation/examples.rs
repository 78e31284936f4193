//! An example of each request and of its main answer, in the API's description. They are in `examples.json`: what a server with the sample
//! dataset was asked and answered (`scripts/examples`).

use serde_json::{Map, Value};

/// By method and path, such as `GET /v1/datasets`: `request` and `answer`.
fn all() -> Map<String, Value> {
    serde_json::from_str(include_str!("examples.json")).unwrap_or_default()
}

/// Adds them to the description of all routes.
pub fn add_to(api: &mut Value) {
    for (of, example) in all() {
        let Some((method, path)) = of.split_once(' ') else {
            continue;
        };
        let Some(operation) = api["paths"][path].get_mut(method.to_lowercase()) else {
            continue;
        };
        if let Some(request) = example.get("request")
            && let Some(content) = operation.pointer_mut("/requestBody/content/application~1json")
        {
            content["example"] = request.clone();
        }
        if let Some(answer) = example.get("answer")
            && let Some(content) = main_answer(operation)
        {
            content["example"] = answer.clone();
        }
    }
}

/// JSON of the first status that says that all is well.
fn main_answer(operation: &mut Value) -> Option<&mut Value> {
    let responses = operation["responses"].as_object_mut()?;
    let mut good: Vec<_> = responses
        .iter_mut()
        .filter(|(status, _)| status.starts_with('2'))
        .collect();
    // 201 before 200: that it was there already is the exception.
    good.sort_by_key(|(status, _)| status.as_str() != "201");
    let mut contents = good
        .into_iter()
        .filter_map(|(_, response)| response.pointer_mut("/content/application~1json"));
    contents.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes;

    /// Descriptions, which are examples of themselves.
    const OF_THEMSELVES: [&str; 2] = ["/openapi.json", "/v1/schemas/job"];

    #[test]
    fn every_request_and_answer_of_json_has_an_example_that_is_as_described() {
        let api = serde_json::to_value(routes::openapi()).unwrap();
        let mut missing = Vec::new();
        for (path, item) in api["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let mut operation = operation.clone();
                let request = operation
                    .pointer("/requestBody/content/application~1json")
                    .cloned();
                let answer = main_answer(&mut operation).cloned();
                for (what, content) in [("request", request), ("answer", answer)] {
                    let Some(content) = content.filter(|_| !OF_THEMSELVES.contains(&path.as_str())) else {
                        continue;
                    };
                    let mut schema = content["schema"].clone();
                    schema["components"] = api["components"].clone();
                    let validator = jsonschema::validator_for(&schema).unwrap();
                    match content.get("example") {
                        None => missing.push(format!("{what} of {} {path}", method.to_uppercase())),
                        Some(example) => {
                            let faults: Vec<String> = validator
                                .iter_errors(example)
                                .map(|fault| fault.to_string())
                                .collect();
                            assert!(faults.is_empty(), "{what} of {method} {path}: {faults:#?}");
                        }
                    }
                }
            }
        }
        assert!(missing.is_empty(), "without an example: {missing:#?}");
    }
}
