//! `PATCH /v1/datasets/{dataset}/images`: relabels, moves or removes many images in one version.

use std::collections::HashSet;

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    domain::datasets::{class_name, dataset::Dataset, split::Split},
    error::{Error, FieldError, Result},
    http::{
        App,
        requests::{
            extract::JsonBody,
            precondition::{etag, target},
        },
        responses::problem::Problems,
    },
    manifest::revision::ImageEdit,
};

/// Most classes of one image.
const MOST_LABELS: usize = 256;

/// A change of an image; at least one of the fields.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct ImageChange {
    /// New class. A class that does not exist yet is created.
    #[schema(min_length = 1, max_length = 255)]
    class: Option<String>,
    /// All classes of an image that has several, or `[]` for none of them; instead of `class`.
    #[schema(max_items = 256)]
    labels: Option<Vec<String>>,
    split: Option<Split>,
}

/// Changes of images.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct ImageChanges {
    #[schema(min_items = 1)]
    images: Vec<ImageChangeOf>,
}

/// A change of one image.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct ImageChangeOf {
    id: u32,
    /// New class. A class that does not exist yet is created.
    #[schema(min_length = 1, max_length = 255)]
    class: Option<String>,
    /// All classes of an image that has several, or `[]` for none of them; instead of `class`.
    #[schema(max_items = 256)]
    labels: Option<Vec<String>>,
    split: Option<Split>,
    /// `true` removes the image.
    remove: Option<bool>,
}

/// Change many images
///
/// `{"images": [{"id": 7, "class": "roses"}, {"id": 8, "split": "val"}, {"id": 9, "remove": true}]}` creates one version, or none if
/// nothing changes. Either all changes are made or none.
#[utoipa::path(
    patch, path = "/v1/datasets/{dataset}/images", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"),
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    request_body = ImageChanges,
    responses((status = 200, body = Dataset, headers(("etag" = String))), Problems)
)]
pub async fn edit(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response> {
    let edits = parse_changes(&body.value)?;
    let dataset = app.store().dataset(&reference).await?;
    let target = target(&dataset, &reference, &headers)?;
    app.check_disk(0)?;
    let dataset = app.jobs().edit_images(target, edits).await?;
    Ok((etag(&dataset), Json(dataset)).into_response())
}

/// Parses the change of a single image, which the path names.
pub fn parse_change(body: &Value) -> Result<ImageEdit> {
    let mut faults = Vec::new();
    let edit = match body {
        Value::Object(fields) => change(fields, "", &["class", "labels", "split"], &mut faults),
        _ => {
            faults.push(FieldError::new("", "type", "must be an object"));
            None
        }
    };
    edit.filter(|_| faults.is_empty()).ok_or_else(|| wrong(faults))
}

fn parse_changes(body: &Value) -> Result<Vec<(u32, ImageEdit)>> {
    let mut faults = Vec::new();
    let listed = body.get("images").and_then(Value::as_array);
    for field in body.as_object().into_iter().flat_map(Map::keys) {
        if field != "images" {
            faults.push(unknown("", field));
        }
    }
    let Some(listed) = listed.filter(|listed| !listed.is_empty()) else {
        let message = "must be a list of at least one `{\"id\": …, \"class\": …}`";
        faults.push(FieldError::new("/images", "missing", message));
        return Err(wrong(faults));
    };
    let mut edits = Vec::new();
    let mut seen = HashSet::new();
    for (place, item) in listed.iter().enumerate() {
        let pointer = format!("/images/{place}");
        let Some(fields) = item.as_object() else {
            faults.push(FieldError::new(pointer, "type", "must be an object"));
            continue;
        };
        let id = fields
            .get("id")
            .and_then(Value::as_u64)
            .and_then(|id| u32::try_from(id).ok());
        let known = ["id", "class", "labels", "split", "remove"];
        let edit = change(fields, &pointer, &known, &mut faults);
        match id {
            None => faults.push(FieldError::new(
                format!("{pointer}/id"),
                "type",
                "must be the id of an image",
            )),
            Some(id) if !seen.insert(id) => {
                let message = "this image is listed twice";
                faults.push(FieldError::new(format!("{pointer}/id"), "conflict", message));
            }
            Some(id) => edits.extend(edit.map(|edit| (id, edit))),
        }
    }
    if faults.is_empty() {
        Ok(edits)
    } else {
        Err(wrong(faults))
    }
}

fn change(
    fields: &Map<String, Value>,
    pointer: &str,
    known: &[&str],
    faults: &mut Vec<FieldError>,
) -> Option<ImageEdit> {
    let before = faults.len();
    faults.extend(
        fields
            .keys()
            .filter(|field| !known.contains(&field.as_str()))
            .map(|field| unknown(pointer, field)),
    );
    let given = |field: &str| fields.get(field).filter(|value| !value.is_null());
    let mut class_of = |value: &Value, field: String| {
        let name = value
            .as_str()
            .ok_or("must be a string")
            .and_then(class_name::parse);
        name.map_err(|message| faults.push(FieldError::new(format!("{pointer}/{field}"), "range", message)))
            .ok()
    };
    let class = given("class").and_then(|value| class_of(value, "class".to_owned()));
    let labels = match given("labels") {
        None => class.map(|class| vec![class]),
        Some(Value::Array(names)) if names.len() <= MOST_LABELS => {
            let names = names.iter().enumerate();
            let names = names.map(|(place, name)| class_of(name, format!("labels/{place}")));
            names.collect::<Option<Vec<String>>>()
        }
        Some(_) => {
            let message = format!("must be a list of at most {MOST_LABELS} classes");
            faults.push(FieldError::new(format!("{pointer}/labels"), "type", message));
            None
        }
    };
    if given("class").is_some() && given("labels").is_some() {
        let message = "not valid with `class`: all classes of the image are in `labels`";
        faults.push(FieldError::new(format!("{pointer}/labels"), "conflict", message));
    }
    let split = given("split").and_then(|value| {
        let split = serde_json::from_value::<Split>(value.clone());
        let message = "must be `train`, `val` or `test`";
        split
            .map_err(|_| faults.push(FieldError::new(format!("{pointer}/split"), "range", message)))
            .ok()
    });
    let remove = match given("remove") {
        None => false,
        Some(Value::Bool(remove)) => *remove,
        Some(_) => {
            faults.push(FieldError::new(
                format!("{pointer}/remove"),
                "type",
                "must be true or false",
            ));
            false
        }
    };
    if faults.len() > before {
        return None;
    }
    match (remove, labels, split) {
        (true, None, None) => Some(ImageEdit::Remove),
        (true, ..) => {
            let message = "not valid with `class`, `labels` or `split`";
            faults.push(FieldError::new(format!("{pointer}/remove"), "conflict", message));
            None
        }
        (false, None, None) => {
            faults.push(FieldError::new(
                pointer,
                "missing",
                "set `class` or `labels`, `split` or both",
            ));
            None
        }
        (false, labels, split) => Some(ImageEdit::Change { labels, split }),
    }
}

fn unknown(pointer: &str, field: &str) -> FieldError {
    let escaped = field.replace('~', "~0").replace('/', "~1");
    FieldError::new(format!("{pointer}/{escaped}"), "unknown_field", "unknown field")
}

fn wrong(faults: Vec<FieldError>) -> Error {
    Error::fields("the changes are invalid", faults)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(body: Value) -> Vec<String> {
        let error = parse_changes(&body).unwrap_err();
        error.errors().iter().map(|fault| fault.pointer.clone()).collect()
    }

    #[test]
    fn every_wrong_field_is_named() {
        let good = json!({"images": [
            {"id": 7, "class": " roses "}, {"id": 8, "split": "val"}, {"id": 9, "remove": true}, {"id": 10, "labels": ["b", "a"]},
            {"id": 11, "labels": []}
        ]});
        let edits = parse_changes(&good).unwrap();
        let labelled = |labels: &[&str]| ImageEdit::Change {
            labels: Some(labels.iter().map(|label| (*label).to_owned()).collect()),
            split: None,
        };
        let expected = [
            (7, ImageEdit::class("roses".into())),
            (
                8,
                ImageEdit::Change {
                    labels: None,
                    split: Some(Split::Val),
                },
            ),
            (9, ImageEdit::Remove),
            (10, labelled(&["b", "a"])),
            (11, labelled(&[])),
        ];
        assert_eq!(edits, expected);
        assert_eq!(pointers(json!({})), ["/images"]);
        assert_eq!(pointers(json!({"images": [], "x/y": 1})), ["/x~1y", "/images"]);
        let wrong = json!({"images": [
            1, {"id": -1, "class": "a"}, {"id": 2, "class": "a/b"}, {"id": 2, "split": "vla"}, {"id": 3},
            {"id": 4, "class": "a", "remove": true}, {"id": 5, "klass": "a"}, {"id": 6, "labels": ["a", "b/c"]},
            {"id": 7, "labels": "a"}, {"id": 8, "labels": ["a"], "class": "a"}
        ]});
        let named = [
            "/images/0",
            "/images/1/id",
            "/images/2/class",
            "/images/3/split",
            "/images/3/id",
            "/images/4",
            "/images/5/remove",
            "/images/6/klass",
            "/images/7/labels/1",
            "/images/8/labels",
            "/images/9/labels",
        ];
        assert_eq!(pointers(wrong), named);
        assert!(parse_change(&json!({"remove": true})).is_err());
        assert!(parse_change(&json!([])).is_err());
    }
}
