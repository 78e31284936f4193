//! How archives are read: the options of an upload, and `POST /v1/datasets/{dataset}/reread`.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::state::shown;
use crate::{
    domain::datasets::{
        dataset::{Dataset, DatasetStatus},
        name_encoding,
        reading::ReadOptions,
        understanding::Understanding,
    },
    error::{Error, FieldError, Kind, Result},
    http::{
        App,
        requests::{
            extract::{JsonBody, Query},
            precondition::expected_versions,
        },
        responses::problem::Problems,
    },
};

/// Checks options as callers send them.
///
/// # Errors
/// 422 with each faulty option.
pub fn parse(document: &Value) -> Result<ReadOptions> {
    let Some(object) = document.as_object() else {
        return Err(wrong(vec![FieldError::new(
            "",
            "type",
            "must be an object of options",
        )]));
    };
    // One by one, so that each fault is told.
    let mut faults = Vec::new();
    for (name, value) in object {
        let alone = Value::from(serde_json::Map::from_iter([(name.clone(), value.clone())]));
        if let Err(error) = serde_json::from_value::<ReadOptions>(alone) {
            let text = error.to_string();
            let code = if text.starts_with("unknown field") {
                "unknown_field"
            } else {
                "type"
            };
            faults.push(FieldError::new(format!("/{name}"), code, text));
        }
    }
    if !faults.is_empty() {
        return Err(wrong(faults));
    }
    let options: ReadOptions = serde_json::from_value(document.clone()).map_err(Error::internal)?;
    faults = options.faults();
    for (field, label) in [
        ("encoding", &options.encoding),
        ("name_encoding", &options.name_encoding),
    ] {
        if label
            .as_deref()
            .is_some_and(|label| name_encoding::parse(label).is_none())
        {
            let message = format!("is not known; use one of {}", name_encoding::LABELS.join(", "));
            faults.push(FieldError::new(format!("/{field}"), "unknown", message));
        }
    }
    match faults.as_slice() {
        [] => Ok(options),
        _ => Err(wrong(faults)),
    }
}

pub(super) fn wrong(faults: Vec<FieldError>) -> Error {
    Error::fields("the options for reading the archive are invalid", faults)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RereadQuery {
    /// `true`: answers what would be understood, and changes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Read a dataset's archive again
///
/// With other options: `readings` of the dataset's report has some that give other classes. What is read becomes the next version; versions
/// before it stay, with their images. The dataset is `processing` until then. If the reading fails, the dataset is `ready` again, and `error`
/// says why. Images that were added, changed or removed after the upload are not in the new version. With `dry_run=true`, answers what would
/// be understood, from names and tables alone.
#[utoipa::path(
    post, path = "/v1/datasets/{dataset}/reread", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"), RereadQuery,
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    request_body = ReadOptions,
    responses(
        (status = 202, description = "The archive is being read", body = Dataset, headers(("location" = String))),
        (status = 200, description = "What would be understood (`dry_run`)", body = Understanding),
        Problems
    )
)]
pub async fn reread(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<RereadQuery>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response> {
    let options = parse(&body.value)?;
    let dataset = app.store().dataset(&reference).await?;
    if dataset.status == DatasetStatus::Processing {
        let detail = "the dataset is being read already; wait for it with ?wait=60";
        return Err(Error::new(Kind::Conflict, "dataset-not-ready", detail));
    }
    let expected = expected_versions(&headers, dataset.latest_version)?;
    if expected
        .as_ref()
        .is_some_and(|versions| !versions.contains(&dataset.latest_version))
    {
        return Err(Error::newer_version());
    }
    app.check_disk(0)?;
    let archive = app
        .blobs()
        .sound_lately(&dataset.sha256, || {
            format!("the archive of the dataset `{}`", dataset.name)
        })
        .await?;
    // Also before a real reading: options that do not fit are refused at once, and nothing has changed.
    let understood = app.jobs().understand(archive, options.clone()).await?;
    if query.dry_run {
        return Ok(Json(understood).into_response());
    }
    app.store().reread_dataset(dataset.id, options, expected).await?;
    let dataset = app.store().dataset(&dataset.id.to_string()).await?;
    let location = [(header::LOCATION, format!("/v1/datasets/{}", dataset.id))];
    Ok((StatusCode::ACCEPTED, location, Json(shown(&app, dataset))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_faulty_option_is_told() {
        let faults = |json: Value| {
            let error = parse(&json).unwrap_err();
            error
                .errors()
                .iter()
                .map(|fault| fault.pointer.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            faults(serde_json::json!({"classes": "x", "level": "two", "klass": 1})),
            ["/classes", "/klass", "/level"]
        );
        assert_eq!(
            faults(serde_json::json!({"name_encoding": "klingon"})),
            ["/name_encoding"]
        );
        assert_eq!(faults(serde_json::json!([])), [""]);
        assert_eq!(
            parse(&serde_json::json!({"classes": null})).unwrap(),
            ReadOptions::default()
        );
    }
}
