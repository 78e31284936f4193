//! `GET /v1/datasets/{dataset}/archive`: a version as a zip file of class folders, sent as it is put together. Memory does not grow with
//! the images, and a client that reads slowly keeps one thread and one place, not more.

use std::{
    collections::HashMap, fs::File, io, os::unix::fs::FileExt, path::PathBuf, sync::Arc, time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, sync::mpsc, time::timeout};
use utoipa::IntoParams;

use super::{
    App,
    extract::Query,
    precondition::is_known,
    problem::Problems,
    zip_stream::{ZipHeaders, ZipLength},
};
use crate::{
    domain::{dataset::Dataset, image_folder::ImageFolder},
    error::{Error, Kind, Result},
    manifest,
    protocol::ManifestImage,
    store::VersionFiles,
};

const CHUNK: usize = 256 << 10;
/// Chunks that wait for the client.
const CHUNKS_IN_FLIGHT: usize = 4;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ArchiveQuery {
    /// By default the newest.
    version: Option<u32>,
}

/// Download a dataset
///
/// A zip of the original image files in class folders, within `train`, `val` and `test` where it is divided. Torchvision's `ImageFolder`
/// reads it with the same classes in the same order, and an upload of it is a dataset with the same content.
#[utoipa::path(
    get, path = "/v1/datasets/{dataset}/archive", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ArchiveQuery, ("if-none-match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The zip file", body = [u8], content_type = "application/zip", headers(("etag" = String))),
        (status = 304, description = "The caller has it"),
        Problems
    )
)]
pub async fn archive(
    State(app): State<App>,
    Path(reference): Path<String>,
    Query(query): Query<ArchiveQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let (dataset, files) = app.version(&reference, query.version).await?;
    let tag = format!("\"{}-v{}-zip\"", dataset.id, dataset.version);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let place = app.downloads().clone().try_acquire_owned().map_err(|_| {
        let detail = "as many downloads as the server allows are going on; try again in a moment";
        Error::new(Kind::TooMany, "downloads-busy", detail).retry_after(Duration::from_secs(5))
    })?;
    let name = format!("{}-v{}.zip", dataset.name, dataset.version);
    let download = Arc::new(Download::new(&app, dataset, files));
    let measured = download.clone();
    let length = tokio::task::spawn_blocking(move || measured.length()).await;
    let length = length.map_err(Error::internal)??;
    let (sender, mut receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let out = Out {
        sender,
        patience: Duration::from_secs(app.limits().upload_idle_seconds),
        runtime: Handle::current(),
        _place: place,
    };
    tokio::task::spawn_blocking(move || {
        if let Err(error) = download.send(&out) {
            tracing::warn!(%error, "a download broke off");
            // The client sees that there is less than was announced.
            let _ = out.put(Err(error));
        }
    });
    let stream = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
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
    Ok((about, Body::from_stream(stream)).into_response())
}

/// A version that is being sent.
struct Download {
    dataset: Dataset,
    manifest: PathBuf,
    /// Images files by the numbers of their segments.
    segments: HashMap<u32, PathBuf>,
}

impl Download {
    fn new(app: &App, dataset: Dataset, files: VersionFiles) -> Self {
        let path = |digest: &str| app.blobs().path(digest);
        Self {
            dataset,
            manifest: path(&files.manifest),
            segments: files
                .segments
                .iter()
                .map(|segment| (segment.number, path(&segment.images)))
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
            let path = folder.path(image.class, image.split, &image.path, image.id);
            each(&image, &path)?;
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let mut length = ZipLength::default();
        self.visit(|image, path| {
            length.add(path, image.bytes);
            Ok(())
        })?;
        Ok(length.bytes())
    }

    fn send(&self, out: &Out) -> io::Result<()> {
        let mut headers = ZipHeaders::default();
        let mut open = HashMap::new();
        for (number, path) in &self.segments {
            open.insert(*number, File::open(path)?);
        }
        self.visit(|image, path| {
            let file = open
                .get(&image.segment)
                .ok_or_else(|| io::Error::other("a segment is not there"))?;
            // Read twice, the second time out of memory: the checksum stands before the bytes.
            let mut crc = flate2::Crc::new();
            pieces(file, image, |piece| {
                crc.update(&piece);
                Ok(())
            })?;
            let bytes = u32::try_from(image.bytes).map_err(io::Error::other)?;
            out.put(Ok(headers.file(path, bytes, crc.sum()).into()))?;
            pieces(file, image, |piece| out.put(Ok(piece.into())))
        })?;
        out.put(Ok(headers.finish().into()))
    }
}

/// An image's file, piece by piece.
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

/// The way to the client.
struct Out {
    sender: mpsc::Sender<io::Result<Bytes>>,
    /// How long a client may take nothing.
    patience: Duration,
    runtime: Handle,
    _place: OwnedSemaphorePermit,
}

impl Out {
    fn put(&self, chunk: io::Result<Bytes>) -> io::Result<()> {
        let sent = self
            .runtime
            .block_on(timeout(self.patience, self.sender.send(chunk)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
