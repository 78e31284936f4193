//! `/v1/jobs/{job}/predictions`: the rows of a batch prediction, as JSON Lines or CSV.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{
        jobs::{job::Job, predictions::PredictionRow},
        spec::JobKind,
    },
    error::{Error, Kind, Result},
    http::{
        App,
        connections::Caller,
        requests::extract::Query,
        responses::{
            blob_file::{self, About},
            problem::Problems,
        },
    },
};

/// Format of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowFormat {
    /// JSON Lines, also called NDJSON.
    Jsonl,
    /// CSV (RFC 4180), with a header row.
    Csv,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PredictionsQuery {
    /// By default chosen by `Accept`, otherwise `jsonl`.
    #[param(inline)]
    format: Option<RowFormat>,
}

/// Get the results of a batch prediction
///
/// One row per image, in the order of the dataset's images; an image that cannot be read has an `error`, and the others are not affected.
/// CSV has the columns `image`, `path`, `split`, `label`, `predicted`, `probability`, then `label_2`, `probability_2` and so on up to
/// `top_k` or the model's number of classes, and `error`. Text that a spreadsheet would interpret as a formula (it begins with `=`, `+`,
/// `-`, `@`, a tab or a line break) is prefixed with an apostrophe; JSON Lines contain it unchanged. 409 `predictions-not-ready` before the
/// job has ended, 404 `no-predictions` if there are none.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/predictions", tag = "jobs",
    params(
        ("job" = String, Path, description = "Id, or the name of the newest"), PredictionsQuery,
        ("accept" = Option<String>, Header, description = "`application/jsonl`, `application/x-ndjson` or `text/csv`"),
        ("if-none-match" = Option<String>, Header), ("range" = Option<String>, Header), ("if-range" = Option<String>, Header)
    ),
    responses(
        (status = 200, description = "The rows", headers(("etag" = String)), content(
            (PredictionRow = "application/jsonl"), (PredictionRow = "application/x-ndjson"), (String = "text/csv")
        )),
        (status = 206, description = "Partial content", headers(("etag" = String), ("content-range" = String)), content(
            (String = "application/jsonl"), (String = "application/x-ndjson"), (String = "text/csv")
        )),
        (status = 304, description = "Not modified"),
        Problems
    )
)]
pub async fn predictions(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<PredictionsQuery>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response> {
    let job = app.store().job(&reference).await?;
    let Some(predictions) = &job.predictions else {
        return Err(why_none(&job));
    };
    let accepted = Accepted::of(&headers);
    let (file, media_type, extension) = match query.format.unwrap_or(accepted.format()) {
        RowFormat::Csv => (&predictions.csv, "text/csv; charset=utf-8", "csv"),
        RowFormat::Jsonl if accepted.ndjson > accepted.jsonl => {
            (&predictions.jsonl, "application/x-ndjson", "jsonl")
        }
        RowFormat::Jsonl => (&predictions.jsonl, "application/jsonl", "jsonl"),
    };
    let about = About {
        digest: file.sha256.clone(),
        media_type,
        file_name: format!("{}-predictions.{extension}", job.name),
    };
    let mut response = blob_file::answer(&app, &about, caller, &headers).await?;
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

fn why_none(job: &Job) -> Error {
    let none = |detail: String| Error::new(Kind::NotFound, "no-predictions", detail);
    if job.kind != JobKind::BatchPredict {
        return none(format!(
            "a job of kind `{}` has no predictions",
            job.kind.as_str()
        ));
    }
    if job.status.is_end() {
        return none(format!(
            "the job ended without predictions: its status is {}",
            job.status.as_str()
        ));
    }
    let detail = "the job has not ended; wait for it with GET /v1/jobs/{job}?wait=60";
    Error::new(Kind::Conflict, "predictions-not-ready", detail)
}

/// The quality value of each format in the client's `Accept`, 0 to 1 (RFC 9110, 12.5.1).
#[derive(Debug, Default, PartialEq)]
struct Accepted {
    csv: f32,
    jsonl: f32,
    ndjson: f32,
}

impl Accepted {
    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter();
        let ranges: Vec<(String, f32)> = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(media_range)
            .collect();
        // The most specific matching range counts.
        let wish = |kind: &str, of_kind: &str| {
            [kind, of_kind, "*/*"].iter().find_map(|name| {
                let range = ranges.iter().find(|(range, _)| range == name);
                range.map(|(_, quality)| *quality)
            })
        };
        let wish = |kind, of_kind| wish(kind, of_kind).unwrap_or(0.0);
        Self {
            csv: wish("text/csv", "text/*"),
            jsonl: wish("application/jsonl", "application/*"),
            ndjson: wish("application/x-ndjson", "application/*"),
        }
    }

    fn format(&self) -> RowFormat {
        if self.csv > self.jsonl.max(self.ndjson) {
            RowFormat::Csv
        } else {
            RowFormat::Jsonl
        }
    }
}

/// `text/csv;q=0.5`
fn media_range(text: &str) -> (String, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
    (name, quality.unwrap_or(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_says_how_rows_are_written() {
        let wish = |accept: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            Accepted::of(&headers)
        };
        for (accept, csv) in [
            (None, false),
            (Some("*/*"), false),
            (Some("text/csv"), true),
            (Some("text/*"), true),
            (Some("TEXT/CSV; charset=utf-8"), true),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), false),
            (Some("application/jsonl, text/csv;q=0.9"), false),
            (Some("application/jsonl;q=0.1, text/csv;q=0.9"), true),
            (Some("text/csv, */*;q=0.1"), true),
            (Some("image/png"), false),
        ] {
            assert_eq!(wish(accept).format() == RowFormat::Csv, csv, "{accept:?}");
        }
        let ndjson = wish(Some("application/x-ndjson"));
        assert!(ndjson.ndjson > ndjson.jsonl);
        let any = wish(Some("*/*"));
        assert_eq!((any.ndjson, any.jsonl), (1.0, 1.0));
    }
}
