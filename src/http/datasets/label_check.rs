//! `POST /v1/datasets/{dataset}/label_check/apply`: what a person decided about the images of a label check, as the dataset's next version.

use std::collections::HashSet;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    domain::{
        datasets::{class_name, dataset::Dataset},
        jobs::job::{Job, JobStatus},
        spec::JobKind,
    },
    error::{Error, FieldError, Kind, Result},
    http::{
        App,
        jobs::results,
        requests::{
            extract::JsonBody,
            precondition::{etag, expected_versions},
        },
        responses::problem::Problems,
    },
    jobs::Target,
    manifest::revision::ImageEdit,
};

/// What becomes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LabelAction {
    /// Nothing: the label is right.
    Keep,
    Relabel,
    Remove,
}

/// What was decided about images of a label check.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct LabelDecisions {
    /// Id or name of the label check. Its dataset must still be at the version that was checked.
    #[schema(min_length = 1)]
    job: String,
    #[schema(min_items = 1)]
    images: Vec<LabelDecision>,
}

/// What was decided about one image.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct LabelDecision {
    /// Id of an image of the version that was checked.
    id: u32,
    action: LabelAction,
    /// Only with `relabel`: the new class; by default the suggested one. A class that does not exist yet is created.
    #[schema(min_length = 1, max_length = 255)]
    class: Option<String>,
}

/// Apply a label check
///
/// `{"job": "labels", "images": [{"id": 7, "action": "relabel"}, {"id": 8, "action": "remove"}, {"id": 9, "action": "keep"}]}` makes one
/// version, or none if nothing changes. Either all changes are made or none. 409 `version-changed` if the dataset has a newer version than
/// the one that was checked: images and labels may be others now.
#[utoipa::path(
    post, path = "/v1/datasets/{dataset}/label_check/apply", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"),
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    request_body = LabelDecisions,
    responses(
        (status = 201, description = "A new version was created", body = Dataset, headers(("location" = String), ("etag" = String))),
        (status = 200, description = "Nothing changes", body = Dataset, headers(("etag" = String))),
        Problems
    )
)]
pub async fn apply(
    State(app): State<App>,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response> {
    let (job, decisions) = parse(&body.value)?;
    let dataset = app.store().dataset(&reference).await?;
    let job = find_job(&app, &job, &dataset).await?;
    let checked = job.dataset.version;
    if dataset.latest_version != checked {
        let detail = format!(
            "version {checked} of the dataset was checked, and its newest version is {}; check the labels of that one",
            dataset.latest_version
        );
        return Err(Error::new(Kind::Conflict, "version-changed", detail));
    }
    let expected = expected_versions(&headers, checked)?;
    if expected.is_some_and(|expected| !expected.contains(&checked)) {
        return Err(Error::newer_version());
    }
    let edits = edits(&app, &job, decisions).await?;
    app.check_disk(0)?;
    let target = Target {
        dataset: dataset.id,
        expected: Some(vec![checked]),
    };
    let dataset = app.jobs().edit_images(target, edits).await?;
    let tag = etag(&dataset);
    if dataset.version == checked {
        return Ok((tag, Json(dataset)).into_response());
    }
    let location = format!("/v1/datasets/{}/versions/{}", dataset.id, dataset.version);
    Ok((
        StatusCode::CREATED,
        tag,
        [(header::LOCATION, location)],
        Json(dataset),
    )
        .into_response())
}

/// An image, what becomes of it, and its new class where the caller says which.
type Decision = (u32, LabelAction, Option<String>);

fn parse(body: &Value) -> Result<(String, Vec<Decision>)> {
    let mut faults = Vec::new();
    for field in body.as_object().into_iter().flat_map(Map::keys) {
        if !["job", "images"].contains(&field.as_str()) {
            faults.push(unknown("", field));
        }
    }
    let job = body.get("job").and_then(Value::as_str);
    if job.is_none() {
        let message = "name the label check, by its id or its name";
        faults.push(FieldError::new("/job", "missing", message));
    }
    let listed = body.get("images").and_then(Value::as_array);
    let mut decisions = Vec::new();
    match listed.filter(|listed| !listed.is_empty()) {
        None => {
            let message = "must be a list of at least one `{\"id\": …, \"action\": …}`";
            faults.push(FieldError::new("/images", "missing", message));
        }
        Some(listed) => {
            let mut seen = HashSet::new();
            for (place, item) in listed.iter().enumerate() {
                decisions.extend(decision(
                    item,
                    &format!("/images/{place}"),
                    &mut seen,
                    &mut faults,
                ));
            }
        }
    }
    match job.filter(|_| faults.is_empty()) {
        Some(job) => Ok((job.to_owned(), decisions)),
        None => Err(wrong(faults)),
    }
}

fn decision(
    item: &Value,
    pointer: &str,
    seen: &mut HashSet<u64>,
    faults: &mut Vec<FieldError>,
) -> Option<Decision> {
    let before = faults.len();
    let mut fault = |field: &str, code: &str, message: &str| {
        faults.push(FieldError::new(format!("{pointer}{field}"), code, message));
    };
    let Some(fields) = item.as_object() else {
        fault("", "type", "must be an object");
        return None;
    };
    let id = fields.get("id").and_then(Value::as_u64);
    match id {
        Some(id) if u32::try_from(id).is_err() => fault("/id", "not_found", "no image has this id"),
        Some(id) if !seen.insert(id) => fault("/id", "conflict", "this image is listed twice"),
        Some(_) => {}
        None => fault("/id", "type", "must be the id of an image"),
    }
    let action = fields.get("action").cloned().unwrap_or_default();
    let action = serde_json::from_value::<LabelAction>(action).ok();
    if action.is_none() {
        fault("/action", "range", "must be `keep`, `relabel` or `remove`");
    }
    let class = fields.get("class").and_then(|value| {
        let name = value
            .as_str()
            .ok_or("must be a string")
            .and_then(class_name::parse);
        name.map_err(|message| fault("/class", "range", message)).ok()
    });
    if class.is_some() && action != Some(LabelAction::Relabel) {
        fault("/class", "conflict", "only valid with the action `relabel`");
    }
    let known = ["id", "action", "class"];
    let others = fields.keys().filter(|field| !known.contains(&field.as_str()));
    faults.extend(others.map(|field| unknown(pointer, field)));
    match (id, action) {
        (Some(id), Some(action)) if faults.len() == before => Some((id as u32, action, class)),
        _ => None,
    }
}

/// The label check of this dataset.
async fn find_job(app: &App, reference: &str, dataset: &Dataset) -> Result<Job> {
    let fault = |code, message: String| {
        let fault = FieldError::new("/job", code, message.as_str());
        Error::fields(message, vec![fault])
    };
    let job = match app.store().job(reference).await {
        Err(error) if error.kind() == Kind::NotFound => {
            return Err(fault("not_found", error.detail().to_owned()));
        }
        job => job?,
    };
    if job.kind != JobKind::LabelCheck {
        let message = format!(
            "the job `{}` is of kind `{}`, and not a label check",
            job.name,
            job.kind.as_str()
        );
        return Err(fault("conflict", message));
    }
    if job.dataset.id != dataset.id {
        let message = format!("the job `{}` has checked another dataset", job.name);
        return Err(fault("conflict", message));
    }
    if job.status != JobStatus::Succeeded {
        let detail = "the label check has not succeeded; GET /v1/jobs/{job}?wait=60 waits for its end";
        return Err(Error::new(Kind::Conflict, "job-state", detail));
    }
    Ok(job)
}

/// Images that are kept are edits, too, so that each is looked for.
async fn edits(app: &App, job: &Job, decisions: Vec<Decision>) -> Result<Vec<(u32, ImageEdit)>> {
    let needs_suggestion = |(_, action, class): &Decision| *action == LabelAction::Relabel && class.is_none();
    let found = match decisions.iter().any(needs_suggestion) {
        true => Some(results::label_check(app, job).await?),
        false => None,
    };
    let suggestion = |id| found.as_ref()?.suggestion(id).map(str::to_owned);
    let mut faults = Vec::new();
    let mut edits = Vec::new();
    for (place, (id, action, class)) in decisions.into_iter().enumerate() {
        let class = match action {
            LabelAction::Relabel => class.or_else(|| suggestion(id)),
            _ => None,
        };
        if action == LabelAction::Relabel && class.is_none() {
            let message =
                format!("the label check lists no image {id}, so it suggests no class for it; name one");
            faults.push(FieldError::new(
                format!("/images/{place}/class"),
                "missing",
                message,
            ));
        }
        edits.push(match action {
            LabelAction::Remove => (id, ImageEdit::Remove),
            _ => {
                let labels = class.map(|class| vec![class]);
                (id, ImageEdit::Change { labels, split: None })
            }
        });
    }
    match faults.is_empty() {
        true => Ok(edits),
        false => Err(wrong(faults)),
    }
}

fn unknown(pointer: &str, field: &str) -> FieldError {
    let escaped = field.replace('~', "~0").replace('/', "~1");
    FieldError::new(format!("{pointer}/{escaped}"), "unknown_field", "unknown field")
}

fn wrong(faults: Vec<FieldError>) -> Error {
    Error::fields("the decisions are invalid", faults)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let good = json!({"job": "labels", "images": [
            {"id": 7, "action": "relabel", "class": " roses "}, {"id": 8, "action": "remove"}, {"id": 9, "action": "keep"},
            {"id": 10, "action": "relabel"},
        ]});
        let (job, decisions) = parse(&good).unwrap();
        assert_eq!(job, "labels");
        let expected = [
            (7, LabelAction::Relabel, Some("roses".to_owned())),
            (8, LabelAction::Remove, None),
            (9, LabelAction::Keep, None),
            (10, LabelAction::Relabel, None),
        ];
        assert_eq!(decisions, expected);

        let told = |body: Value| {
            let error = parse(&body).unwrap_err();
            let told = error
                .errors()
                .iter()
                .map(|fault| format!("{} {}", fault.pointer, fault.code));
            told.collect::<Vec<_>>()
        };
        assert_eq!(told(json!({})), ["/job missing", "/images missing"]);
        assert_eq!(told(json!([])), ["/job missing", "/images missing"]);
        let wrong = json!({"job": 7, "jobs": 1, "images": [
            1, {"action": "keep"}, {"id": 1, "action": "drop"}, {"id": 1, "action": "keep"}, {"id": 2},
            {"id": 3, "action": "keep", "class": "a"}, {"id": 4, "action": "relabel", "class": "a/b"},
            {"id": 4294967296u64, "action": "keep"}, {"id": 5, "action": "keep", "why": "x"},
        ]});
        let expected = [
            "/jobs unknown_field",
            "/job missing",
            "/images/0 type",
            "/images/1/id type",
            "/images/2/action range",
            "/images/3/id conflict",
            "/images/4/action range",
            "/images/5/class conflict",
            "/images/6/class range",
            "/images/7/id not_found",
            "/images/8/why unknown_field",
        ];
        assert_eq!(told(wrong), expected);
    }
}
