//! Thumbnails of a dataset's images, made by a child from its pixel packs and cached on disk.
//!
//! A page of the dashboard requests dozens at once, so a child makes the thumbnails of a range of neighbouring images, and the other
//! requests find theirs in the cache: `thumbnails/{dataset}/{segment}-{neighbourhood}-{size}`, an index followed by the files. An image
//! never changes, and neither does such a file. Evicted files are made again.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use crate::{
    domain::id::DatasetId,
    error::{Error, Kind, Result},
    files::{digest, private},
    jobs::{
        blocking::blocking,
        children::waited::{self, WaitedRun},
        context::Context,
        kept::{self, Cache},
        queue::prepare::segment_as_files,
    },
    manifest, process,
    protocol::{Artifact, ManifestImage, RunResult, RunSpec, ThumbnailsRun},
    store::StoredSegment,
};

/// Ids per file.
const NEIGHBOURHOOD: u32 = 128;
/// Threads per child: thumbnails are small, and jobs need the others.
const THREADS: u32 = 2;
/// Largest file that is accepted from a child; real ones are far smaller.
const MAX_FILE: u64 = 256 << 20;

/// A JPEG of an image whose longer side has at most `side` pixels.
///
/// # Errors
/// Failures of the worker and of the disk.
pub async fn thumbnail(
    context: &Context,
    dataset: DatasetId,
    segment: StoredSegment,
    image: u32,
    side: u32,
) -> Result<Vec<u8>> {
    let neighbourhood = image / NEIGHBOURHOOD;
    let name = format!("{}-{neighbourhood}-{side}", segment.files.number);
    let path = cache(context).folder.join(dataset.to_string()).join(&name);
    if let Some(bytes) = kept(&path, image).await? {
        return Ok(bytes);
    }
    let _alone = context.drawings.hold((dataset, name)).await;
    if let Some(bytes) = kept(&path, image).await? {
        return Ok(bytes);
    }
    draw(context, dataset, &segment, neighbourhood, side, &path).await?;
    cache(context).tidy().await;
    kept(&path, image)
        .await?
        .ok_or_else(|| Error::not_found("image", &image.to_string()))
}

async fn draw(
    context: &Context,
    dataset: DatasetId,
    segment: &StoredSegment,
    neighbourhood: u32,
    side: u32,
    path: &Path,
) -> Result<()> {
    let _place = context
        .thumbnail_workers
        .acquire()
        .await
        .map_err(Error::internal)?;
    // The version that introduced the segment lists all of its images, also those removed in later versions.
    let files = context.store.version_files(dataset, segment.version).await?;
    let files = files.ok_or_else(|| Error::not_found("dataset", &dataset.to_string()))?;
    let manifest = context.blobs.sound_lately(&files.manifest, || {
        format!("the manifest of the dataset's version {}", segment.version)
    });
    let manifest = manifest.await?;
    let number = segment.files.number;
    let images = blocking(move || neighbours(&manifest, neighbourhood, number)).await?;
    let run = RunSpec::Thumbnails(ThumbnailsRun {
        segment: segment_as_files(context, segment),
        images,
        side,
        threads: process::threads(context.config.ingest_threads).min(THREADS),
    });
    let waited = WaitedRun {
        run,
        deadline: context.config.limits.preview_deadline(),
    };
    let too_slow = || {
        let detail = "making the thumbnails took too long; try again in a moment";
        Error::new(Kind::Timeout, "preview-timeout", detail)
    };
    let refused = |error| waited::refusal("thumbnails-failed", error);
    match waited::run(context, waited, too_slow, refused).await? {
        (dir, RunResult::Drawn { thumbnails }) => {
            let to = path.to_owned();
            blocking(move || take(dir.path(), &thumbnails, &to)).await
        }
        _ => Err(waited::of_another_kind("thumbnails")),
    }
}

/// Images of one file, all of one segment.
fn neighbours(manifest: &Path, neighbourhood: u32, segment: u32) -> Result<Vec<ManifestImage>> {
    let first = neighbourhood * NEIGHBOURHOOD;
    let mut images = Vec::new();
    for image in manifest::images_after(manifest, first.checked_sub(1))? {
        let image: ManifestImage = image?;
        if image.id - first >= NEIGHBOURHOOD {
            break;
        }
        if image.segment == segment {
            images.push(image);
        }
    }
    Ok(images)
}

/// Moves a file from a child into the cache.
fn take(dir: &Path, made: &Artifact, to: &Path) -> Result<()> {
    waited::check(dir, made, MAX_FILE)?;
    if let Some(folder) = to.parent() {
        private::create_dir_all(folder)?;
    }
    fs::rename(dir.join(&made.file), to)?;
    Ok(())
}

async fn kept(path: &Path, image: u32) -> Result<Option<Vec<u8>>> {
    let path = path.to_owned();
    blocking(move || match look_up(&path, image)? {
        Found::Thumbnail(jpeg) => Ok(Some(jpeg)),
        Found::Nothing => Ok(None),
        Found::Damage => {
            kept::discard(&path, "thumbnails")?;
            Ok(None)
        }
    })
    .await
}

#[derive(Debug, PartialEq)]
enum Found {
    Thumbnail(Vec<u8>),
    Nothing,
    /// The file is not as a child wrote it: the disk has lost data, or an older version of the program wrote it.
    Damage,
}

/// Reads an image's thumbnail from a file. Only what is read is verified: the index and the thumbnail.
fn look_up(path: &Path, image: u32) -> io::Result<Found> {
    let Some(file) = kept::there(File::open(path))? else {
        return Ok(Found::Nothing);
    };
    let mut reader = BufReader::new(file);
    let (mut index, mut sha256) = (Vec::new(), Vec::new());
    reader.read_until(b'\n', &mut index)?;
    reader.by_ref().take(65).read_until(b'\n', &mut sha256)?;
    index.pop();
    if sha256.pop() != Some(b'\n') || *digest::of_bytes(&index).as_bytes() != *sha256 {
        return Ok(Found::Damage);
    }
    let entries: Vec<(u32, u64, u64, String)> = serde_json::from_slice(&index)?;
    let Some((_, offset, bytes, sha256)) = entries.into_iter().find(|(id, ..)| *id == image) else {
        return Ok(Found::Nothing);
    };
    reader.seek(SeekFrom::Start(index.len() as u64 + 66 + offset))?;
    let mut jpeg = Vec::new();
    reader.by_ref().take(bytes).read_to_end(&mut jpeg)?;
    if digest::of_bytes(&jpeg) != sha256 {
        return Ok(Found::Damage);
    }
    kept::touch(reader.get_ref())?;
    Ok(Found::Thumbnail(jpeg))
}

fn cache(context: &Context) -> Cache {
    Cache {
        what: "thumbnails",
        folder: context.paths.data_dir().join("thumbnails"),
        budget: context.config.limits.max_thumbnail_bytes,
    }
}

/// Removes the files of deleted datasets.
pub async fn sweep(context: &Context) -> Result<()> {
    let store = &context.store;
    cache(context)
        .sweep(|id: DatasetId| async move { store.dataset(&id.to_string()).await })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_is_found_by_its_image_and_damage_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let index = serde_json::json!([
            [4, 0, 3, digest::of_bytes(b"one")],
            [9, 3, 2, digest::of_bytes(b"tw")]
        ]);
        let index = index.to_string();
        let whole = format!("{index}\n{}\nonetw", digest::of_bytes(index.as_bytes())).into_bytes();
        fs::write(&path, &whole).unwrap();
        assert_eq!(look_up(&path, 4).unwrap(), Found::Thumbnail(b"one".to_vec()));
        assert_eq!(look_up(&path, 9).unwrap(), Found::Thumbnail(b"tw".to_vec()));
        assert_eq!(look_up(&path, 5).unwrap(), Found::Nothing);
        assert_eq!(look_up(&folder.path().join("d"), 5).unwrap(), Found::Nothing);
        for place in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (place % 8);
            fs::write(&path, &flipped).unwrap();
            let [four, nine] = [4, 9].map(|image| look_up(&path, image).unwrap());
            assert!(
                [&four, &nine].contains(&&Found::Damage),
                "{place}: {four:?} {nine:?}"
            );
        }
        fs::write(&path, "[[4,0,3]]\none of before").unwrap();
        assert_eq!(look_up(&path, 4).unwrap(), Found::Damage);
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(look_up(&path, 9).unwrap(), Found::Damage);
    }
}
