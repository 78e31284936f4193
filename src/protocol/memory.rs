//! How much memory a run may use. What reads a stranger's file gets a limit, because a decoder can be made to do anything; jobs take what
//! their batches need. The worker sets it on itself (`RLIMIT_DATA`), the server on the worker's control group.

use std::path::Path;

use super::{ExportRun, ImportRun, IngestRun, RunSpec, ThumbnailsRun};

/// Memory besides that for the files that are read. Memory-mapped files do not count: libtorch is one, and nothing in a stranger's file can
/// map another.
const BASE: u64 = 3 << 30;
/// What a decoder needs for a pixel: its own 8 bytes, and as many for its copies.
const PIXEL_BYTES: u64 = 16;

/// Bytes; none where there is no limit. `size` is that of a file.
pub fn bound(spec: &RunSpec, size: impl Fn(&Path) -> u64) -> Option<u64> {
    let files = match spec {
        RunSpec::Ingest(run) => of_archive(run),
        RunSpec::Import(run) => of_import(run),
        RunSpec::Thumbnails(run) => of_images(run),
        // The weights as they were stored, folded, and in the file that is made; TorchScript is read once more to compare it.
        RunSpec::Export(run) => of_weights(run, size).saturating_mul(8),
        _ => return None,
    };
    Some(BASE.saturating_add(files))
}

/// `ingest` limits its own memory; this is for what a decoder could be made to do nevertheless. One image at the limit must always fit.
fn of_archive(run: &IngestRun) -> u64 {
    let image = run.limits.max_image_pixels.saturating_mul(PIXEL_BYTES);
    image.saturating_add(run.limits.max_file_bytes.saturating_mul(2))
}

/// A model's bytes, its tensors and the network are in memory one after the other, two of them at once.
fn of_import(run: &ImportRun) -> u64 {
    run.max_bytes.saturating_mul(3)
}

/// The originals are decoded where their pixels are gone, one on each thread.
fn of_images(run: &ThumbnailsRun) -> u64 {
    let memory = |(width, height, bytes): (u32, u32, u64)| {
        (u64::from(width) * u64::from(height))
            .saturating_mul(PIXEL_BYTES)
            .saturating_add(bytes.saturating_mul(2))
    };
    let images = run
        .images
        .iter()
        .map(|image| (image.width, image.height, image.bytes));
    let largest = images.map(memory).max().unwrap_or(0);
    largest.saturating_mul(u64::from(run.threads.max(1)))
}

/// The size of a model's files.
pub fn of_weights(run: &ExportRun, size: impl Fn(&Path) -> u64) -> u64 {
    let base = run.model.base.as_ref().map_or(0, |base| size(&base.path));
    size(&run.model.weights).saturating_add(base)
}
