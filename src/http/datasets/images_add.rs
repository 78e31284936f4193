//! `POST /v1/datasets/{dataset}/images`: adds images as a new version.

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
            precondition::{target, version_etag},
        },
        responses::problem::Problems,
    },
    jobs::{Batch, Labels},
    store::Room,
};

/// Longest file name, in characters; a longer one is truncated.
const LONGEST_NAME: usize = 255;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AddQuery {
    /// Class of all these images. A class that does not exist yet is created. Only for datasets with classes.
    class: Option<String>,
    /// Split to add the images to, `train` by default.
    #[param(inline)]
    split: Option<Split>,
    /// File name, if the body is the image itself.
    name: Option<String>,
}

/// Result of adding images.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddedImages {
    /// Always `added_images`.
    #[schema(example = "added_images")]
    pub object: &'static str,
    /// The dataset at its newest version, which is a new one if images were added.
    pub dataset: Dataset,
    /// The new images.
    pub images: Vec<Image>,
    /// Files that were not added, each with the reason: those of a dataset's report, and `duplicate` for a file that the dataset already
    /// has.
    pub skipped: Vec<ReportEntry>,
}

/// Add images
///
/// The body is an image, or a form with any number of image files. They are checked like the images of an archive, and the valid ones make
/// the next version; until then the dataset is unchanged. A file that the dataset already has is not added again, so a request can be
/// repeated.
#[utoipa::path(
    post, path = "/v1/datasets/{dataset}/images", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id or name"), AddQuery,
        ("if-match" = Option<String>, Header, description = "Only if this is the newest version's ETag")
    ),
    request_body(description = "An image, or a form with image files", content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "A new version was created", body = AddedImages, headers(("location" = String), ("etag" = String))),
        (status = 200, description = "The dataset already has all of them", body = AddedImages, headers(("etag" = String))),
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
                "the class or split of the images is invalid",
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
    // They will belong to whom the dataset belongs to.
    let room = app.store().room_of(dataset.owner.as_ref()).await?;
    check_announced_size(&app, request.headers(), &room)?;
    let permit = app.begin_receiving(Caller::of(request.extensions()))?;
    let batch = receive(&app, request, query.name.as_deref(), &room).await?;
    let packed = batch.finish().await?;
    drop(permit);
    let added = app.jobs().add_images(target, packed, labels).await?;
    let Some(revised) = added.revised else {
        return Err(unusable(&added.skipped));
    };
    let (dataset, changed) = (revised.dataset, revised.changed);
    let tag = version_etag(dataset.version, &dataset);
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
    // As many as anyone will read.
    let faults = skipped.iter().enumerate().map(fault).take(100).collect();
    Error::fields("none of the files is a usable image", faults)
}

async fn receive(app: &App, request: Request, name: Option<&str>, room: &Room) -> Result<Batch> {
    let mut batch = app.jobs().begin_batch().await?;
    if !form::is_announced(request.headers()) {
        let name = shown_name(name.unwrap_or("image"));
        let body: Body = request.into_body();
        put(
            app,
            &mut batch,
            &name,
            body.into_data_stream().map_err(|_| cut_short()),
            room,
        )
        .await?;
        return Ok(batch);
    }
    let mut form = Form::of(request, app.limits().upload_idle()).await?;
    while let Some(field) = form.next().await? {
        // Fields that are not files are text fields beside the images.
        let Some(name) = field.file_name().map(shown_name) else {
            continue;
        };
        if batch.files() as u64 >= app.limits().ingest.max_entries {
            let detail = format!(
                "more than {} files in one request; send them in several requests",
                batch.files()
            );
            return Err(Error::new(Kind::TooLarge, "too-large", detail));
        }
        put(app, &mut batch, &name, field.into_chunks(cut_short), room).await?;
    }
    if batch.files() == 0 {
        let detail =
            "the form has no files; send each image as a file, for example with `curl -F file=@rose.jpg`";
        return Err(form::invalid(detail));
    }
    Ok(batch)
}

async fn put(
    app: &App,
    batch: &mut Batch,
    name: &str,
    chunks: impl Stream<Item = Result<Bytes>>,
    room: &Room,
) -> Result<()> {
    let limits = app.limits();
    let idle = limits.upload_idle();
    batch.begin_file(name).await?;
    let mut chunks = std::pin::pin!(chunks);
    loop {
        let next = timeout(idle, chunks.next()).await.map_err(|_| {
            let detail = format!(
                "no data was received for {} seconds; send the images again",
                idle.as_secs()
            );
            Error::new(Kind::TooSlow, "body-too-slow", detail)
        })?;
        let Some(chunk) = next else { break };
        let chunk = chunk?;
        let most = limits.ingest.max_file_bytes;
        if batch.file_bytes() + chunk.len() as u64 > most {
            let detail = format!("`{name}` is larger than {most} bytes, the server's limit for an image");
            return Err(Error::new(Kind::TooLarge, "too-large", detail));
        }
        if batch.bytes() + chunk.len() as u64 > limits.max_archive_bytes {
            let detail = format!(
                "the images are larger than {} bytes in total; send them in several requests",
                limits.max_archive_bytes
            );
            return Err(Error::new(Kind::TooLarge, "too-large", detail));
        }
        room.check(batch.received() + chunk.len() as u64)?;
        batch.write(&chunk).await?;
    }
    Ok(batch.end_file().await?)
}

/// A file name without its directories and control characters.
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

fn check_announced_size(app: &App, headers: &HeaderMap, room: &Room) -> Result<()> {
    let announced = form::announced_bytes(headers);
    let most = app.limits().max_archive_bytes;
    if announced > most {
        let detail =
            format!("the images are larger than {most} bytes in total; send them in several requests");
        return Err(Error::new(Kind::TooLarge, "too-large", detail));
    }
    // Of a form it is not known how many files it has: they are counted as they come.
    if !form::is_announced(headers) {
        room.check(announced)?;
    }
    app.check_disk(announced)
}

fn cut_short() -> Error {
    let detail = "the request body ended before the images were complete; send them again";
    Error::new(Kind::Malformed, "body-incomplete", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_name_that_can_be_shown() {
        assert_eq!(shown_name("C:\\images\\a rose.jpg"), "a rose.jpg");
        assert_eq!(shown_name("../../etc/passwd"), "passwd");
        assert_eq!(shown_name("\u{1b}[31mred"), "\u{fffd}[31mred");
        assert_eq!(shown_name("folder/"), "image");
        assert_eq!(shown_name(&"é".repeat(300)).chars().count(), LONGEST_NAME);
    }
}
