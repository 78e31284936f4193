//! The limits that a child sets on itself: memory, files, threads. What reads a stranger's file gets the closest ones, because a decoder can
//! be made to do anything; all others only what no run needs.

use std::fs;

use rustix::process::{self, Resource, Rlimit};

use crate::{
    protocol::{ExportRun, ImportRun, IngestRun, RunSpec, ThumbnailsRun},
    worker::pixels,
};

/// Memory besides that for the files that are read. Memory-mapped files do not count: libtorch is one, and nothing in a stranger's file can
/// map another.
const BASE: u64 = 3 << 30;
/// What a decoder needs for a pixel: its own 8 bytes, and as many for its copies.
const PIXEL_BYTES: u64 = 16;
/// More threads than any child needs; other programs of the user may start as many before this becomes too few.
const THREADS: u64 = 4096;

/// No core dumps: they would contain people's images. For every child, before anything else.
pub fn forbid_core_dumps() {
    limit(Resource::Core, 0);
}

/// How many threads there may be. The kernel counts those of all processes of a user, so that is what comes on top of all that there are; and
/// it does not count those of root.
pub fn bound_threads() {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    // The number of threads of the host is the second one of `1/234`.
    let all = load
        .split_whitespace()
        .nth(3)
        .and_then(|counts| counts.split('/').nth(1));
    if let Some(all) = all.and_then(|all| all.parse::<u64>().ok()) {
        limit(Resource::Nproc, all.saturating_add(THREADS));
    }
}

/// What a run may use.
pub fn bound(spec: &RunSpec) {
    match spec {
        RunSpec::Ingest(run) => bound_ingest(run),
        RunSpec::Import(run) => bound_import(run),
        RunSpec::Thumbnails(run) => bound_thumbnails(run),
        RunSpec::Export(run) => bound_export(run),
        // Jobs and their previews take what their batches need.
        _ => {}
    }
}

/// An archive is untrusted. `ingest` limits its own memory; this is for what a decoder could be made to do nevertheless.
fn bound_ingest(spec: &IngestRun) {
    // One image at the limit must always fit.
    let image = spec.limits.max_image_pixels.saturating_mul(PIXEL_BYTES);
    let file = spec.limits.max_file_bytes.saturating_mul(2);
    limit(Resource::Data, BASE.saturating_add(image).saturating_add(file));
    limit(Resource::Fsize, largest_file(spec));
    // The archive three times, the files of the run, the pipes.
    limit(Resource::Nofile, 64);
}

/// A model is an untrusted file as well: its bytes, its tensors and the network are in memory one after the other, two of them at once.
fn bound_import(spec: &ImportRun) {
    limit(
        Resource::Data,
        BASE.saturating_add(spec.max_bytes.saturating_mul(3)),
    );
    limit(
        Resource::Fsize,
        spec.max_bytes.saturating_mul(2).saturating_add(64 << 20),
    );
    limit(Resource::Nofile, 64);
}

/// The originals are decoded where their pixels are gone, one on each thread.
fn bound_thumbnails(spec: &ThumbnailsRun) {
    let memory = |(width, height, bytes): (u32, u32, u64)| {
        (u64::from(width) * u64::from(height))
            .saturating_mul(PIXEL_BYTES)
            .saturating_add(bytes.saturating_mul(2))
    };
    let images = spec
        .images
        .iter()
        .map(|image| (image.width, image.height, image.bytes));
    let largest = images.map(memory).max().unwrap_or(0);
    let threads = u64::from(spec.threads.max(1));
    limit(
        Resource::Data,
        BASE.saturating_add(largest.saturating_mul(threads)),
    );
    let thumbnail = u64::from(spec.side) * u64::from(spec.side) * 4 + (1 << 20);
    limit(
        Resource::Fsize,
        thumbnail.saturating_mul(spec.images.len().max(1) as u64),
    );
    limit(Resource::Nofile, 64);
}

/// The weights as they were stored, folded, and in the file that is made; TorchScript is read once more to compare it.
fn bound_export(spec: &ExportRun) {
    let size = |path| fs::metadata(path).map_or(0, |about| about.len());
    let base = spec.model.base.as_ref().map_or(0, |base| size(&base.path));
    let weights = size(&spec.model.weights).saturating_add(base);
    limit(Resource::Data, BASE.saturating_add(weights.saturating_mul(8)));
    limit(
        Resource::Fsize,
        weights.saturating_mul(2).saturating_add(64 << 20),
    );
    limit(Resource::Nofile, 64);
}

/// All images or all packed images are in one file; the limits on entries and paths bound the report.
fn largest_file(spec: &IngestRun) -> u64 {
    let side = u64::from(spec.pack_side);
    let packed_image = side * side * u64::from(pixels::MAX_ASPECT) * 3;
    let packed = spec.limits.max_entries.saturating_mul(packed_image);
    let described = spec.limits.max_path_bytes as u64 + 4096;
    packed
        .max(spec.limits.max_expanded_bytes)
        .max(spec.limits.max_entries.saturating_mul(described))
}

fn limit(resource: Resource, most: u64) {
    let allowed = process::getrlimit(resource).maximum;
    let most = allowed.map_or(most, |allowed| allowed.min(most));
    let bound = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    if let Err(fault) = process::setrlimit(resource, bound) {
        tracing::warn!("cannot set a limit of the process: {fault}");
    }
}
