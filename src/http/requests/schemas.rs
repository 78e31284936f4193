//! What requests with a body of JSON look like, as schemas that are described to callers.

use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use super::nulls;
use crate::domain::spec::{JobKind, JobSpec, KindSpec, KindVisitor, PreviewSpec};

/// A job spec as callers send it: [`Spec`](crate::domain::spec::Spec) with everything that has a default optional.
pub struct JobRequest;

impl PartialSchema for JobRequest {
    fn schema() -> RefOr<Schema> {
        let schema = request_schema().and_then(serde_json::from_value);
        schema.unwrap_or_else(|_| utoipa::openapi::Object::new().into())
    }
}

impl ToSchema for JobRequest {}

/// A preview as callers ask for it: those fields of a job that change its images, and how many of them; all optional.
pub struct PreviewRequest;

impl PartialSchema for PreviewRequest {
    fn schema() -> RefOr<Schema> {
        let schema = preview_schema().and_then(serde_json::from_value);
        schema.unwrap_or_else(|_| utoipa::openapi::Object::new().into())
    }
}

impl ToSchema for PreviewRequest {}

fn preview_schema() -> serde_json::Result<Value> {
    let job = kind_schema::<JobSpec>(JobKind::Train, &[], "")?;
    let count = |default: u32, description: &str| json!({"type": "integer", "minimum": 1, "maximum": PreviewSpec::MOST, "default": default, "description": description});
    let mut schema = json!({
        "type": "object", "additionalProperties": false,
        "description": "Fields of a job that change its images, as in its spec, and how many images to draw.",
        "properties": {
            "images": count(4, "Rows: training images, evenly spread over the dataset."),
            "views": count(6, "Columns after the first: what the first epochs would train on."),
        },
    });
    for field in PreviewSpec::OF_THE_JOB {
        schema["properties"][field] = job["properties"][field].clone();
    }
    Ok(schema)
}

/// One schema for each kind.
pub fn request_schema() -> serde_json::Result<Value> {
    struct OfKind;

    impl KindVisitor for OfKind {
        type Output = serde_json::Result<Value>;

        fn visit<S: KindSpec>(&self, kind: JobKind) -> Self::Output {
            kind_schema::<S>(kind, S::REQUIRED, S::DESCRIPTION)
        }
    }

    let kinds: Vec<Value> = JobKind::each(&OfKind).into_iter().collect::<Result<_, _>>()?;
    let mut schema = json!({ "oneOf": kinds });
    nulls::permit(&mut schema);
    Ok(schema)
}

fn parts_of<T: ToSchema>() -> serde_json::Result<Map<String, Value>> {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    let parts = parts.into_iter();
    parts
        .map(|(name, schema)| Ok((name, serde_json::to_value(schema)?)))
        .collect()
}

/// The schema of a kind's resolved spec, its parts written in place, and nothing required but what has no default.
fn kind_schema<T: ToSchema>(
    kind: JobKind,
    required: &[&str],
    description: &str,
) -> serde_json::Result<Value> {
    let parts = parts_of::<T>()?;
    let mut schema = serde_json::to_value(T::schema())?;
    // Flattened parts come as `allOf`; one object can refuse what it does not know, several cannot.
    let mut properties = Map::new();
    gather(&schema, &parts, &mut properties);
    properties.insert(
        "kind".to_owned(),
        json!({"type": "string", "enum": [kind.as_str()]}),
    );
    schema = json!({"type": "object", "title": kind.as_str(), "description": description, "properties": properties});
    write_in_place(&mut schema, &parts);
    schema["required"] = json!(required);
    Ok(schema)
}

fn gather(schema: &Value, parts: &Map<String, Value>, properties: &mut Map<String, Value>) {
    if let Some(part) = referred(schema, parts) {
        gather(part, parts, properties);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        gather(part, parts, properties);
    }
    let own = schema["properties"].as_object().into_iter().flatten();
    properties.extend(own.map(|(name, value)| (name.clone(), value.clone())));
}

fn referred<'a>(schema: &Value, parts: &'a Map<String, Value>) -> Option<&'a Value> {
    parts.get(schema.get("$ref")?.as_str()?.rsplit('/').next()?)
}

fn write_in_place(schema: &mut Value, parts: &Map<String, Value>) {
    if let Some(part) = referred(schema, parts) {
        *schema = part.clone();
    }
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") {
                object.remove("required");
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(|value| write_in_place(value, parts));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| write_in_place(value, parts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_of_each_kind_is_as_described_and_fields_of_another_kind_are_not() {
        let validator = jsonschema::validator_for(&request_schema().unwrap()).unwrap();
        for right in [
            json!({"dataset": "d", "epochs": 3}),
            json!({"kind": "train", "dataset": "d"}),
            json!({"kind": null, "dataset": "d", "epochs": null, "image": null, "augment": {"mixup": null}}),
            json!({"kind": "evaluate", "model": "m", "dataset": "d", "split": "all"}),
            json!({"kind": "lr_find", "dataset": "d", "epochs": 3, "lr_find": {"steps": 40}}),
            json!({"kind": "batch-predict", "model": "m", "dataset": "d", "top_k": 3}),
        ] {
            assert!(validator.is_valid(&right), "{right}");
        }
        for wrong in [
            json!({"epochs": 3}),
            json!({"dataset": "d", "lr_find": {"steps": 40}}),
            json!({"kind": "evaluate", "dataset": "d"}),
            json!({"kind": "evaluate", "model": "m", "dataset": "d", "epochs": 3}),
            json!({"kind": "lr_find", "dataset": "d", "lr_find": {"stepps": 40}}),
            json!({"kind": "batch-predict", "dataset": "d"}),
            json!({"kind": "batch-predict", "model": "m", "dataset": "d", "top_k": 0}),
        ] {
            assert!(!validator.is_valid(&wrong), "{wrong}");
        }
    }
}
