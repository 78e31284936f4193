//! `POST /v1/datasets/{dataset}/images`: images for the next version.

use std::time::Duration;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::images::Image;
use crate::{
    domain::datasets::{
        class_name,
        dataset::{Dataset, ReportEntry},
        split::Split,
    },
    error::{Error, FieldError, Kind, Result},
    http::{
        App,
        connections::Caller,
        requests::{
            extract::Query,
            form::{self, Form},
            precondition::{target, version_tag},
        },
        responses::problem::Problems,
    },
    jobs::{Batch, Labels},
};

/// Longest name of a file, in characters; a longer one is cut.
const LONGEST_NAME: usize = 255;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AddQuery {
    /// What all of these images show. A class that is not there yet is made. Not for a dataset without classes.
    class: Option<String>,
    /// The part that they go into, `train` by default.
    #[param(inline)]
    split: Option<Split>,
    /// Name of the file, where the body is the image itself.
    name: Option<String>,
}

/// What adding images came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddedImages {
    /// Always `added_images`.
    #[schema(example = "added_images")]
    pub object: &'static str,
    /// The dataset at its newest version, which is a new one where images were added.
    pub dataset: Dataset,
    /// The images that are new.
    pub images: Vec<Image>,
    /// Files that were left out, each with the reason: what cannot be used as in a dataset's report, and `duplicate` for what the dataset
    /// has already.
    pub skipped: Vec<ReportEntry>,
}

/// Add images
///
/// The body is an image, or a form with any number of them as files. They are read as an archive's images are, and what can be used makes
/// the next version; until then the dataset is what it was. A file that the dataset has already is not added again, so that a request can
/// be repeated.
#[utoipa::path(
    post, path = "/v1/datasets/{dataset}/images", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"), AddQuery,
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    request_body(description = "An image, or a form of images", content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "There is a new version", body = AddedImages, headers(("location" = String), ("etag" = String))),
        (status = 200, description = "The dataset has all of them already", body = AddedImages, headers(("etag" = String))),
        Problems
    )
)]
pub async fn add(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<AddQuery>,
    request: Request,
) -> Result<Response> {
    let class = query
        .class
        .as_deref()
        .map(class_name::parse)
        .transpose()
        .map_err(|message| {
            Error::fields(
                "the images' labels are wrong",
                vec![FieldError::new("/class", "range", message)],
            )
        })?;
    let labels = Labels {
        class,
        split: query.split.unwrap_or(Split::Train),
    };
    let dataset = app.store().dataset(&reference).await?;
    let target = target(&dataset, &reference, request.headers())?;
    app.jobs().check_addition(&dataset, &target, &labels)?;
    check_announced_size(&app, request.headers())?;
    let place = app.begin_receiving(Caller::of(&app, request.headers(), request.extensions()))?;
    let batch = receive(&app, request, query.name.as_deref()).await?;
    let packed = batch.finish().await?;
    drop(place);
    let added = app.jobs().add_images(target, packed, labels).await?;
    let Some(revised) = added.revised else {
        return Err(unusable(&added.skipped));
    };
    let (dataset, changed) = (revised.dataset, revised.changed);
    let tag = [(header::ETAG, version_tag(dataset.version))];
    let location = format!("/v1/datasets/{}/versions/{}", dataset.id, dataset.version);
    let answer = AddedImages {
        object: "added_images",
        images: revised
            .added
            .into_iter()
            .map(|image| Image::of(image, &dataset.classes))
            .collect(),
        dataset,
        skipped: added.skipped,
    };
    Ok(if changed {
        (
            StatusCode::CREATED,
            tag,
            [(header::LOCATION, location)],
            Json(answer),
        )
            .into_response()
    } else {
        (tag, Json(answer)).into_response()
    })
}

fn unusable(skipped: &[ReportEntry]) -> Error {
    let fault = |(place, entry): (usize, &ReportEntry)| {
        let code = entry.codes.first().map_or("unusable", String::as_str);
        let why = entry.message.as_deref().unwrap_or("it cannot be used");
        FieldError::new(format!("/files/{place}"), code, format!("{}: {why}", entry.path))
    };
    // As many as anybody reads.
    let faults = skipped.iter().enumerate().map(fault).take(100).collect();
    Error::fields("none of the files can be used as an image", faults)
}

async fn receive(app: &App, request: Request, name: Option<&str>) -> Result<Batch> {
    let mut batch = app.jobs().begin_batch().await?;
    if !form::is_announced(request.headers()) {
        let name = shown_name(name.unwrap_or("image"));
        let body: Body = request.into_body();
        put(
            app,
            &mut batch,
            &name,
            body.into_data_stream().map_err(|_| cut_short()),
        )
        .await?;
        return Ok(batch);
    }
    let mut form = Form::of(app, request).await?;
    while let Some(field) = form.next().await? {
        // What is no file is a text beside the images.
        let Some(name) = field.file_name().map(shown_name) else {
            continue;
        };
        if batch.files() as u64 >= app.limits().ingest.max_entries {
            let detail = format!(
                "more than {} files at once; send some of them first",
                batch.files()
            );
            return Err(Error::new(Kind::TooLarge, "too-large", detail));
        }
        put(app, &mut batch, &name, field.into_chunks(cut_short)).await?;
    }
    if batch.files() == 0 {
        let detail = "the form has no files; send each image as a file, as `curl -F file=@rose.jpg` does";
        return Err(form::invalid(detail));
    }
    Ok(batch)
}

async fn put(
    app: &App,
    batch: &mut Batch,
    name: &str,
    chunks: impl Stream<Item = Result<Bytes>>,
) -> Result<()> {
    let limits = app.limits();
    let idle = Duration::from_secs(limits.upload_idle_seconds);
    batch.begin_file(name).await?;
    let mut chunks = std::pin::pin!(chunks);
    loop {
        let next = timeout(idle, chunks.next()).await.map_err(|_| {
            let detail = format!(
                "nothing came for {} seconds; send the images again",
                idle.as_secs()
            );
            Error::new(Kind::TooSlow, "body-too-slow", detail)
        })?;
        let Some(chunk) = next else { break };
        let chunk = chunk?;
        let most = limits.ingest.max_file_bytes;
        if batch.file_bytes() + chunk.len() as u64 > most {
            let detail =
                format!("`{name}` has more than {most} bytes, which is the server's limit for an image");
            return Err(Error::new(Kind::TooLarge, "too-large", detail));
        }
        if batch.bytes() + chunk.len() as u64 > limits.max_archive_bytes {
            let detail = format!(
                "the images have more than {} bytes together; send some of them first",
                limits.max_archive_bytes
            );
            return Err(Error::new(Kind::TooLarge, "too-large", detail));
        }
        batch.write(&chunk).await?;
    }
    Ok(batch.end_file().await?)
}

/// The name of a file without folders, and without what a terminal would obey.
fn shown_name(name: &str) -> String {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let shown = file.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let shown: String = shown.take(LONGEST_NAME).collect();
    if shown.trim().is_empty() {
        "image".to_owned()
    } else {
        shown
    }
}

fn check_announced_size(app: &App, headers: &HeaderMap) -> Result<()> {
    let announced = form::announced_bytes(headers);
    let most = app.limits().max_archive_bytes;
    if announced > most {
        let detail = format!("the images have more than {most} bytes together; send some of them first");
        return Err(Error::new(Kind::TooLarge, "too-large", detail));
    }
    app.check_disk(announced)
}

fn cut_short() -> Error {
    let detail = "the images ended before they were complete; send them again";
    Error::new(Kind::Malformed, "body-incomplete", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_name_that_can_be_shown() {
        assert_eq!(shown_name("C:\\pictures\\a rose.jpg"), "a rose.jpg");
        assert_eq!(shown_name("../../etc/passwd"), "passwd");
        assert_eq!(shown_name("\u{1b}[31mred"), "\u{fffd}[31mred");
        assert_eq!(shown_name("folder/"), "image");
        assert_eq!(shown_name(&"é".repeat(300)).chars().count(), LONGEST_NAME);
    }
}
