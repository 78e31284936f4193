//! Runs of kind `ingest`: reads an archive, interprets it, prepares its images for training.
//!
//! Two passes over the archive, both entry by entry: names first (`listing`, `layout`), pixels second (`pipeline`). Problems with a single
//! entry are listed in the report and do not affect others; a problem that makes the whole archive unusable rejects it with one sentence.
//! Entries are never written under their own names, and memory does not grow with the size of the images, only with their number.

pub mod archive;
mod budget;
mod names;
mod output;
mod pipeline;
pub mod pulse;
mod read_files;
pub mod rejection;
mod report;
#[cfg(test)]
mod tests;
pub mod text;
mod used_bits;
mod window;

use std::{
    fs,
    io::{self, Read as _},
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};

use self::{
    names::arrange::Listing,
    output::{HashedFile, Output},
    pipeline::{Decoded, Pipeline},
    pulse::Heartbeat,
    read_files::ReadFiles,
    rejection::Rejection,
    report::{
        catalogue::{Catalogue, catalogue},
        stored::Stored,
        understanding::understanding,
    },
};
use super::process::{
    child::{Reporter, StopFlag, Stopped},
    run_dir::RunDir,
    stored::crc32,
};
use crate::{
    domain::{
        damage::Damaged,
        datasets::{
            dataset::{ReportEntry, ReportSummary},
            split::Split,
        },
        models::preprocessing::UsedBits,
    },
    files::digest::{self, Hasher},
    protocol::{BulkFile, IngestResult, IngestRun, ManifestImage, Refusal, RunResult},
};

/// Names within the run directory.
const MANIFEST_FILE: &str = "manifest.jsonl";
const IMAGES_FILE: &str = "images.bin";
const PACK_FILE: &str = "pack.bin";
const REPORT_FILE: &str = "report.jsonl";
/// Longest time that syncing the finished files may take.
const SYNC: Duration = Duration::from_secs(900);

/// Reads the archive and writes the dataset's files into `dir`; the caller writes the result file.
///
/// `Ok` contains everything caused by the archive, including [`RunResult::Refused`]. Errors are ours: [`Stopped`] if `stop` was set,
/// otherwise a failing disk. The files for an archive are the same, byte for byte, whatever the number of threads.
pub fn run(
    spec: &IngestRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    let heartbeat = Heartbeat::new(reporter, stop);
    let (read, sound) = thread::scope(|scope| {
        // In parallel with reading, which keeps the archive in the page cache.
        let sound = scope.spawn(|| archive_is_sound(spec, stop));
        let read = ingest(spec, dir, &heartbeat);
        heartbeat.extend_deadline(SYNC);
        (read, sound.join())
    });
    // However the stop became noticeable.
    if read.is_err() && stop.is_set() {
        return Err(Stopped.into());
    }
    let sound = sound.map_err(|_| anyhow!("hashing the archive failed unexpectedly"))??;
    // Whatever was found in it, it is not what was uploaded.
    ensure!(sound, Damaged::new("the dataset's archive"));
    match read {
        Ok(result) => Ok(result),
        Err(error) => Ok(RunResult::Refused(error.downcast::<Rejection>()?.into_refusal())),
    }
}

/// Whether the archive is still the one that was uploaded. Irrelevant once the run should stop.
fn archive_is_sound(spec: &IngestRun, stop: &StopFlag) -> io::Result<bool> {
    let Some(sha256) = &spec.sha256 else {
        return Ok(true);
    };
    let mut hasher = Hasher::new();
    let mut archive = fs::File::open(&spec.archive)?;
    let mut piece = vec![0; 1 << 20];
    while !stop.is_set() {
        match archive.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish() == *sha256),
            Ok(count) => hasher.update(&piece[..count]),
            Err(error) if digest::is_lost(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn ingest(spec: &IngestRun, dir: &RunDir, heartbeat: &Heartbeat<'_>) -> anyhow::Result<RunResult> {
    heartbeat.beat()?;
    let mut listing = names::listing::list(spec, heartbeat)?;
    if spec.names_only {
        return Ok(RunResult::Understood(Box::new(understanding(listing))));
    }
    let (stored, outputs) = store_images(spec, dir, heartbeat, &mut listing)?;
    heartbeat.extend_deadline(SYNC);
    // Usually the disk has little left to do; it finishes while the images are compared.
    let finishing = thread::spawn(move || outputs.finish());
    let Catalogue {
        layout,
        classes,
        splits,
        several_labels,
        content_sha256,
        images,
        report,
        summary,
    } = catalogue(listing, stored, spec.first_image, spec.segment);
    let (images_file, pack) = finishing
        .join()
        .map_err(|_| anyhow!("making the images durable failed unexpectedly"))??;

    let mut report_file =
        HashedFile::create(dir, REPORT_FILE, spec.min_free_bytes).context("cannot write the report")?;
    for entry in &report {
        report_file
            .append_line(entry)
            .context("cannot write the report")?;
    }
    let report_entries = report_file.finish().context("cannot write the report")?;
    if images.is_empty() {
        let archives = report
            .iter()
            .find(|entry| entry.codes.iter().any(|code| code == "archive_in_archive"));
        let refused = no_images(&summary, archives).into_refusal();
        return Ok(RunResult::Refused(Refusal {
            report_entries: Some(report_entries),
            report: Some(Box::new(summary)),
            ..refused
        }));
    }
    let mut manifest =
        HashedFile::create(dir, MANIFEST_FILE, spec.min_free_bytes).context("cannot write the manifest")?;
    for image in &images {
        manifest.append_line(image).context("cannot write the manifest")?;
    }
    Ok(RunResult::Ingested(Box::new(IngestResult {
        layout,
        images: images.len() as u64,
        classes,
        splits,
        several_labels,
        content_sha256,
        report: summary,
        manifest: manifest.finish().context("cannot write the manifest")?,
        images_file,
        pack,
        report_entries,
    })))
}

/// Pass two. Usable images are stored, in the order of the archive; the listing records what happened to the others.
fn store_images(
    spec: &IngestRun,
    dir: &RunDir,
    heartbeat: &Heartbeat<'_>,
    listing: &mut Listing,
) -> anyhow::Result<(Vec<Stored>, Outputs)> {
    let mut outputs = Outputs::create(dir, spec.min_free_bytes)?;
    let mut read = ReadFiles::default();
    let pipeline = Pipeline {
        archive: &spec.archive,
        limits: &spec.limits,
        threads: spec.threads as usize,
        pack_side: spec.pack_side,
        used_bits: spec.used_bits.unwrap_or(UsedBits::ALL),
        entries: &listing.entries,
        heartbeat,
    };
    pipeline.run(&mut |index, outcome| {
        match outcome {
            Err(settled) => {
                read.settled.insert(index, settled);
            }
            Ok(image) => {
                read.images.push(outputs.store(image)?);
                read.entries.push(index);
            }
        }
        Ok(())
    })?;
    let mut stored = read.of_entries(&mut listing.entries)?;
    used_bits::settle(spec, dir, &mut stored, &mut outputs, heartbeat)?;
    Ok((stored, outputs))
}

/// The two files with the images: the originals, and their pixels.
struct Outputs {
    images: Output,
    pack: Output,
}

impl Outputs {
    fn create(dir: &RunDir, min_free_bytes: u64) -> anyhow::Result<Self> {
        Ok(Self {
            images: Output::create(dir, IMAGES_FILE, min_free_bytes).context("cannot write the images")?,
            pack: Output::create(dir, PACK_FILE, min_free_bytes).context("cannot write the pixel pack")?,
        })
    }

    /// Appends one image to both; the caller knows which one it is.
    fn store(&mut self, image: Decoded) -> anyhow::Result<Stored> {
        let offset = self.images.append(&image.bytes);
        let pack_offset = self.pack.append(&image.packed.rgb);
        let manifest = ManifestImage {
            id: 0,
            segment: 0,
            path: String::new(),
            class: None,
            labels: None,
            split: Split::Train,
            offset: offset.context("cannot write the images")?,
            bytes: image.bytes.len() as u64,
            sha256: image.sha256,
            width: image.width,
            height: image.height,
            pack_offset: pack_offset.context("cannot write the pixel pack")?,
            pack_width: image.packed.width,
            pack_height: image.packed.height,
            pack_crc32: Some(crc32(&image.packed.rgb)),
            used_bits: None,
        };
        Ok(Stored {
            image: manifest,
            mode: image.mode,
            largest: image.largest,
            fingerprint: image.fingerprint,
        })
    }

    fn finish(self) -> anyhow::Result<(BulkFile, BulkFile)> {
        let images = self.images.finish().context("cannot write the images")?;
        let pack = self.pack.finish().context("cannot write the pixel pack")?;
        Ok((images, pack))
    }
}

/// `archive` is an archive in the archive.
fn no_images(summary: &ReportSummary, archive: Option<&ReportEntry>) -> Rejection {
    let unread = summary
        .warnings
        .iter()
        .find(|warning| warning.code == "unsupported_format");
    let message = match (archive, summary.skipped, unread) {
        (Some(archive), ..) => format!(
            "the archive contains no images, but other archives, such as `{}`; unpack those, put what is in them into one folder and \
             pack that: `tar czf photos.tar.gz photos`",
            archive.path
        ),
        (None, 0, _) => {
            "the archive contains no images; pack JPEG or PNG files, in one folder for each class".to_owned()
        }
        (None, skipped, None) => format!(
            "no image in the archive can be used: {skipped} entries were left out, and the report says why for each"
        ),
        (None, _, Some(unread)) => format!("no image in the archive can be used: {}", unread.message),
    };
    Rejection::new("no_images", message)
}
