//! `GET /v1/datasets/{dataset}/archive`: a dataset version as a zip file of class folders, streamed while it is written.

use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::images::manifest_of;
use crate::{
    blobs::Blobs,
    domain::{
        damage::Damaged,
        datasets::{dataset::Dataset, image_folder::ImageFolder},
    },
    error::{Error, Result},
    files::digest::Hasher,
    http::{
        App,
        connections::Caller,
        requests::{
            extract::Query,
            precondition::is_known,
            whole::{Natural, Whole},
        },
        responses::{
            download::{CHUNK, Out},
            problem::Problems,
            zip_stream::{ZipHeaders, ZipLength},
        },
    },
    manifest,
    protocol::ManifestImage,
    store::{StoredSegment, VersionFiles},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ArchiveQuery {
    /// The newest version by default.
    #[param(value_type = Option<u32>)]
    version: Option<Natural>,
}

/// Download a dataset
///
/// Returns a zip file of the original image files in class folders, within `train`, `val` and `test` if the dataset is divided.
/// torchvision's `ImageFolder` reads it with the same classes in the same order, and uploading it creates a dataset with the same content.
/// Where images have several labels, there are no class folders: `metadata.jsonl` has the labels of each image, as Hugging Face's
/// `imagefolder` reads them.
/// Each file is verified against its digest before it is sent: if one is damaged on the server's disk, the download is aborted, and later
/// downloads get 500 `data-damaged`.
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}/archive", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ArchiveQuery, ("if-none-match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The zip file", body = [u8], content_type = "application/zip", headers(("etag" = String))),
        (status = 304, description = "Not modified"),
        Problems
    )
)]
pub async fn archive(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<ArchiveQuery>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response> {
    let (dataset, files) = app.version(&reference, query.version.map(Whole::get)).await?;
    let tag = format!("\"{}-v{}-zip\"", dataset.id, dataset.version);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let permit = app.download_permit(caller)?;
    let manifest = app
        .blobs()
        .sound(&files.manifest, || manifest_of(&dataset))
        .await?;
    let known_damaged = |segment: &StoredSegment| app.blobs().is_known_damaged(&segment.files.images);
    if files.segments.iter().any(known_damaged) {
        let what = format!("an image file of the dataset `{}`", dataset.name);
        return Err(Damaged::new(what).into());
    }
    let name = format!("{}-v{}.zip", dataset.name, dataset.version);
    let download = Arc::new(Download::new(&app, dataset, manifest, &files));
    let measured = download.clone();
    let length = tokio::task::spawn_blocking(move || measured.length()).await;
    let length = length.map_err(Error::internal)??;
    let body = app.download(permit, move |out| download.send(out));
    let about = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        // A dataset's name needs no escaping.
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
        (header::ETAG, tag),
    ];
    Ok((about, body).into_response())
}

/// A version being sent.
struct Download {
    dataset: Dataset,
    manifest: PathBuf,
    blobs: Blobs,
    /// Digests of the image files by segment number.
    segments: HashMap<u32, String>,
}

impl Download {
    fn new(app: &App, dataset: Dataset, manifest: PathBuf, files: &VersionFiles) -> Self {
        Self {
            dataset,
            manifest,
            blobs: app.blobs().clone(),
            segments: files
                .segments
                .iter()
                .map(|segment| (segment.files.number, segment.files.images.clone()))
                .collect(),
        }
    }

    /// Calls `each` with every image and its path.
    fn visit(&self, mut each: impl FnMut(&ManifestImage, &str) -> io::Result<()>) -> io::Result<()> {
        let classes = self.dataset.classes.iter().map(|class| class.name.as_str());
        let one_part = self.dataset.splits.train == self.dataset.images;
        let mut folder = ImageFolder::new(classes, one_part);
        for image in manifest::images(&self.manifest).map_err(io::Error::other)? {
            let image = image.map_err(io::Error::other)?;
            let class = image.class.filter(|_| self.dataset.several_labels == 0);
            let path = folder.path(class, image.split, &image.path, image.id);
            each(&image, &path)?;
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let (mut length, mut table) = (ZipLength::default(), LabelTable::of(&self.dataset));
        self.visit(|image, path| {
            length.add(path, image.bytes);
            table.add(image, path)
        })?;
        if let Some(lines) = table.finish() {
            length.add(LabelTable::NAME, lines.len() as u64);
        }
        Ok(length.bytes())
    }

    fn send(&self, out: &Out) -> io::Result<()> {
        let (mut headers, mut table) = (ZipHeaders::default(), LabelTable::of(&self.dataset));
        let mut open = HashMap::new();
        for (number, images) in &self.segments {
            open.insert(*number, File::open(self.blobs.path(images))?);
        }
        self.visit(|image, path| {
            let file = open
                .get(&image.segment)
                .ok_or_else(|| io::Error::other("a segment is missing"))?;
            // Each file is read twice, the second time from the page cache: its checksum comes before its bytes. Damaged data is not sent:
            // the download is aborted, and the next one is refused at once.
            let (mut crc, mut hasher) = (flate2::Crc::new(), Hasher::new());
            let read = pieces(file, image, |piece| {
                crc.update(&piece);
                hasher.update(&piece);
                Ok(())
            });
            if hasher.finish() != image.sha256 {
                self.blobs.note_damage(&self.segments[&image.segment]);
                return Err(io::Error::other(Damaged::image(image.id, &image.path)));
            }
            read?;
            let bytes = u32::try_from(image.bytes).map_err(io::Error::other)?;
            out.put(Ok(headers.file(path, bytes, crc.sum()).into()))?;
            pieces(file, image, |piece| out.put(Ok(piece.into())))?;
            table.add(image, path)
        })?;
        if let Some(lines) = table.finish() {
            let mut crc = flate2::Crc::new();
            crc.update(&lines);
            let bytes = u32::try_from(lines.len()).map_err(io::Error::other)?;
            out.put(Ok(headers.file(LabelTable::NAME, bytes, crc.sum()).into()))?;
            out.put(Ok(lines.into()))?;
        }
        out.put(Ok(headers.finish().into()))
    }
}

/// The labels of the images as lines of JSON, where class folders cannot say them.
struct LabelTable<'a> {
    classes: Option<Vec<&'a str>>,
    lines: Vec<u8>,
}

impl<'a> LabelTable<'a> {
    const NAME: &'static str = "metadata.jsonl";

    fn of(dataset: &'a Dataset) -> Self {
        let names = || dataset.classes.iter().map(|class| class.name.as_str()).collect();
        Self {
            classes: (dataset.several_labels > 0).then(names),
            lines: Vec::new(),
        }
    }

    fn add(&mut self, image: &ManifestImage, path: &str) -> io::Result<()> {
        let Some(classes) = &self.classes else {
            return Ok(());
        };
        let labels = image.label_set().iter();
        let labels: Vec<&str> = labels
            .filter_map(|label| classes.get(*label as usize).copied())
            .collect();
        let line = serde_json::json!({"file_name": path, "labels": labels});
        serde_json::to_writer(&mut self.lines, &line)?;
        self.lines.push(b'\n');
        Ok(())
    }

    /// None where the class folders say it.
    fn finish(self) -> Option<Vec<u8>> {
        self.classes.map(|_| self.lines)
    }
}

/// The file of an image, in chunks.
fn pieces(
    file: &File,
    image: &ManifestImage,
    mut take: impl FnMut(Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let (mut at, end) = (image.offset, image.offset + image.bytes);
    while at < end {
        let mut piece = vec![0; (end - at).min(CHUNK as u64) as usize];
        file.read_exact_at(&mut piece, at)?;
        at += piece.len() as u64;
        take(piece)?;
    }
    Ok(())
}
