//! Small pictures of a dataset's images, drawn by a child from its pixel packs and kept on disk as long as there is room.
//!
//! A page of a dashboard asks for dozens at once, so a child draws all images of a neighbourhood in one go and the others find theirs
//! made: `thumbnails/{dataset}/{segment}-{neighbourhood}-{size}`, an index and then the files. An image never changes, so neither does
//! such a file. All of it is a cache: what is gone is drawn again.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::SystemTime,
};

use tokio::sync::mpsc;

use super::{
    context::Context,
    failure, paths,
    prepare::segment_as_files,
    supervisor::{Outcome, Run, supervise},
};
use crate::{
    digest,
    error::{Error, Kind, Result},
    id::DatasetId,
    manifest, process,
    protocol::{Artifact, ManifestImage, RunResult, RunSpec, ThumbnailsRun},
    store::SegmentFiles,
};

/// Ids in one file.
const NEIGHBOURHOOD: u32 = 128;
/// Threads that draw: the pictures are small, and jobs need the others.
const THREADS: u32 = 2;
/// Largest file that is taken from a child; what it draws is far below this.
const MAX_FILE: u64 = 256 << 20;

/// A JPEG of an image, its longer side at most `side` pixels long.
///
/// # Errors
/// Failures of the worker and of the disk.
pub async fn thumbnail(
    context: &Context,
    dataset: DatasetId,
    segment: SegmentFiles,
    image: u32,
    side: u32,
) -> Result<Vec<u8>> {
    let neighbourhood = image / NEIGHBOURHOOD;
    let name = format!("{}-{neighbourhood}-{side}", segment.number);
    let path = folder(context).join(dataset.to_string()).join(&name);
    if let Some(bytes) = kept(&path, image).await? {
        return Ok(bytes);
    }
    let _alone = context.drawings.hold((dataset, name)).await;
    if let Some(bytes) = kept(&path, image).await? {
        return Ok(bytes);
    }
    draw(context, dataset, &segment, neighbourhood, side, &path).await?;
    tidy(context).await;
    kept(&path, image)
        .await?
        .ok_or_else(|| Error::not_found("image", &image.to_string()))
}

async fn draw(
    context: &Context,
    dataset: DatasetId,
    segment: &SegmentFiles,
    neighbourhood: u32,
    side: u32,
    path: &Path,
) -> Result<()> {
    let _place = context.easels.acquire().await.map_err(Error::internal)?;
    // The version that the segment came with names all of its images, also those that later versions do not have.
    let files = context.store.version_files(dataset, segment.version).await?;
    let files = files.ok_or_else(|| Error::not_found("dataset", &dataset.to_string()))?;
    let manifest = context.blobs.path(&files.manifest);
    let number = segment.number;
    let pictures = blocking(move || neighbours(&manifest, neighbourhood, number)).await?;
    let run = RunSpec::Thumbnails(ThumbnailsRun {
        segment: segment_as_files(context, segment),
        pictures,
        side,
        threads: process::threads(context.config.ingest_threads).min(THREADS),
    });
    let runs = context.paths.runs();
    let dir = blocking(move || Ok(paths::begin_passing(&runs, &run)?)).await?;
    let child = Run {
        program: &context.worker,
        command: "thumbnails",
        dir: dir.path(),
        log: context.log(&"thumbnails"),
        limits: &context.config.limits,
    };
    let (sender, mut messages) = mpsc::channel(16);
    let nobody_listens = async { while messages.recv().await.is_some() {} };
    let deadline = context.config.limits.preview_deadline();
    let stop = async {
        tokio::select! {
            () = context.shutdown.cancelled() => {}
            () = tokio::time::sleep(deadline) => {}
        }
    };
    let (report, ()) = tokio::join!(supervise(&child, sender, stop), nobody_listens);
    let broken = failure::of_child(&report, context.paths.data_dir());
    match report.outcome {
        Outcome::Ended {
            result: Some(RunResult::Drawn { thumbnails }),
            ..
        } => {
            let (from, to) = (dir.path().to_owned(), path.to_owned());
            blocking(move || take(&from, &thumbnails, &to)).await
        }
        Outcome::Stopped { .. } => {
            let detail = "the thumbnails were not drawn in time; try again in a moment";
            Err(Error::new(Kind::Timeout, "preview-timeout", detail))
        }
        _ => Err(Error::internal(anyhow::anyhow!("thumbnails: {}", broken.message))),
    }
}

/// Images of one file, all of one segment.
fn neighbours(manifest: &Path, neighbourhood: u32, segment: u32) -> Result<Vec<ManifestImage>> {
    let first = neighbourhood * NEIGHBOURHOOD;
    let mut pictures = Vec::new();
    for image in manifest::images_after(manifest, first.checked_sub(1))? {
        let image: ManifestImage = image?;
        if image.id - first >= NEIGHBOURHOOD {
            break;
        }
        if image.segment == segment {
            pictures.push(image);
        }
    }
    Ok(pictures)
}

/// Puts a file that a child made in its place.
fn take(dir: &Path, made: &Artifact, to: &Path) -> Result<()> {
    let from = dir.join(&made.file);
    if made.file.contains('/')
        || made.bytes > MAX_FILE
        || digest::of_file(&from)? != (made.sha256.clone(), made.bytes)
    {
        return Err(Error::internal(anyhow::anyhow!(
            "thumbnails are not the file that their result says they are"
        )));
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::rename(from, to)?;
    Ok(())
}

async fn kept(path: &Path, image: u32) -> Result<Option<Vec<u8>>> {
    let path = path.to_owned();
    blocking(move || Ok(look_up(&path, image)?)).await
}

/// The picture of an image, out of a file of them.
fn look_up(path: &Path, image: u32) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = there(File::open(path))? else {
        return Ok(None);
    };
    let mut reader = BufReader::new(file);
    let mut index = String::new();
    reader.read_line(&mut index)?;
    let entries: Vec<(u32, u64, u64)> = serde_json::from_str(&index)?;
    let Some((_, offset, bytes)) = entries.into_iter().find(|(id, _, _)| *id == image) else {
        return Ok(None);
    };
    reader.seek(SeekFrom::Start(index.len() as u64 + offset))?;
    let mut picture = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    reader.read_exact(&mut picture)?;
    // The least recently used go first.
    reader
        .get_ref()
        .set_modified(SystemTime::now())
        .or_else(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Ok(()),
            _ => Err(error),
        })?;
    Ok(Some(picture))
}

fn folder(context: &Context) -> PathBuf {
    context.paths.data_dir().join("thumbnails")
}

/// Deletes the least recently used files as long as all together are over the budget.
async fn tidy(context: &Context) {
    let (folder, budget) = (folder(context), context.config.limits.max_thumbnail_bytes);
    let tidied = blocking(move || Ok(keep_within(&folder, budget)?)).await;
    if let Err(error) = tidied {
        tracing::warn!(%error, "cannot make room among the thumbnails");
    }
}

fn keep_within(folder: &Path, budget: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for dataset in paths::names(folder) {
        for name in paths::names(&folder.join(&dataset)) {
            let path = folder.join(&dataset).join(name);
            // Another request may have removed it by now.
            let Some(about) = there(fs::metadata(&path))? else {
                continue;
            };
            files.push((about.modified()?, about.len(), path));
        }
    }
    files.sort_by(|one, other| other.cmp(one));
    let mut bytes = 0;
    for (_, length, path) in files {
        bytes += length;
        if bytes > budget {
            there(fs::remove_file(path))?;
        }
    }
    Ok(())
}

fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Removes what belongs to datasets that are gone.
pub async fn sweep(context: &Context) -> Result<()> {
    let folder = folder(context);
    let listed = folder.clone();
    for name in blocking(move || Ok(paths::names(&listed))).await? {
        let Ok(id) = name.parse::<DatasetId>() else {
            continue;
        };
        match context.store.dataset(&id.to_string()).await {
            Err(error) if error.kind() == Kind::NotFound => {
                let gone = folder.join(name);
                blocking(move || Ok(fs::remove_dir_all(gone)?)).await?;
            }
            found => {
                found?;
            }
        }
    }
    tidy(context).await;
    Ok(())
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(Error::internal)?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_picture_is_found_by_its_image_and_the_oldest_files_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = folder.path().join("ds");
        fs::create_dir(&dataset).unwrap();
        let path = |name: &str| dataset.join(name);
        for (name, age) in [("a", 30), ("b", 10), ("c", 20)] {
            fs::write(path(name), "[[4,0,3],[9,3,2]]\nonetw").unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            File::options()
                .write(true)
                .open(path(name))
                .unwrap()
                .set_modified(then)
                .unwrap();
        }
        assert_eq!(look_up(&path("a"), 4).unwrap().unwrap(), b"one");
        assert_eq!(look_up(&path("a"), 9).unwrap().unwrap(), b"tw");
        assert_eq!(look_up(&path("a"), 5).unwrap(), None);
        assert_eq!(look_up(&path("d"), 5).unwrap(), None);
        // Of 23 bytes each; `a` was used just now.
        keep_within(folder.path(), 50).unwrap();
        assert_eq!(
            ["a", "b", "c"].map(|name| path(name).exists()),
            [true, true, false]
        );
    }
}
