//! The limits that a child sets on itself: memory, files, threads. What reads a stranger's file gets the closest ones, because a decoder can
//! be made to do anything; all others only what no run needs.

use std::{fs, path::Path};

use rustix::process::{self, Resource, Rlimit};

use crate::{
    protocol::{IngestRun, RunSpec, memory},
    worker::pixels,
};

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
    if let Some(bytes) = memory::bound(spec, size) {
        limit(Resource::Data, bytes);
    }
    let largest_file = match spec {
        RunSpec::Ingest(run) => largest_file(run),
        RunSpec::Import(run) => run.max_bytes.saturating_mul(2).saturating_add(64 << 20),
        RunSpec::Thumbnails(run) => {
            let thumbnail = u64::from(run.side) * u64::from(run.side) * 4 + (1 << 20);
            thumbnail.saturating_mul(run.images.len().max(1) as u64)
        }
        RunSpec::Export(run) => memory::of_weights(run, size)
            .saturating_mul(2)
            .saturating_add(64 << 20),
        // Jobs and their previews take what their batches need.
        _ => return,
    };
    limit(Resource::Fsize, largest_file);
    // The archive three times, the files of the run, the pipes.
    limit(Resource::Nofile, 64);
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |about| about.len())
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
