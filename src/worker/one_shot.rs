//! The life of a one-shot child (`finetuned-worker run`): read the task, do it, write the result last, exit with a status for the outcome.
//!
//! Statuses: 0 with a result file, [`EXIT_STOPPED`] without one because the server asked, [`EXIT_DISK_FULL`] if the disk is full,
//! [`EXIT_INTERNAL`] for anything that is not caused by input; then one line on stderr says what.

use std::{fs, path::Path};

use anyhow::Context;
use rustix::process::{self, Resource, Rlimit};

use super::process::{
    child::{Reporter, StopFlag, Stopped},
    disk,
    run_dir::RunDir,
    stored::damage_in,
};
use crate::{
    domain::jobs::job::{FailureCode, JobError},
    protocol::{EXIT_DISK_FULL, EXIT_STOPPED, ImportRun, IngestRun, RunResult, RunSpec},
    worker::{
        device, export,
        fault::{self, TorchFault},
        import, ingest, pixels, thumbnails, train, weights,
    },
};

/// `EX_SOFTWARE`
pub const EXIT_INTERNAL: i32 = 70;

/// Does the task of the run directory and returns the exit status.
pub fn run(folder: &Path, reporter: &Reporter, stop: &StopFlag) -> i32 {
    let dir = RunDir::new(folder);
    let spec = dir.spec().context("cannot read the run file");
    let dir = match &spec {
        Ok(spec) if spec.waits_for_disk() => dir.waiting_for_room(reporter, stop),
        _ => dir,
    };
    let is_export = matches!(spec, Ok(RunSpec::Export(_)));
    let outcome = fault::caught(|| carry_out(spec?, &dir, reporter, stop));
    let outcome = outcome.unwrap_or_else(|fault| Err(fault.into()));
    let result = match outcome {
        Ok(result) => result,
        Err(fault) if fault.is::<Stopped>() => return EXIT_STOPPED,
        Err(fault) => match explained(&fault, is_export) {
            Some(error) => RunResult::Failed(error),
            None => {
                eprintln!("finetuned-worker: {fault:#}");
                return EXIT_INTERNAL;
            }
        },
    };
    match dir.finish(&result) {
        Ok(()) => 0,
        Err(fault) => {
            eprintln!("finetuned-worker: cannot write the result: {fault}");
            if disk::is_disk_full(&fault) {
                EXIT_DISK_FULL
            } else {
                EXIT_INTERNAL
            }
        }
    }
}

fn carry_out(spec: RunSpec, dir: &RunDir, reporter: &Reporter, stop: &StopFlag) -> anyhow::Result<RunResult> {
    match spec {
        RunSpec::Ingest(spec) => {
            bound_resources(&spec);
            ingest::run(&spec, dir, reporter, stop)
        }
        RunSpec::Preview(spec) => train::preview(&spec, dir, reporter, stop),
        RunSpec::Thumbnails(spec) => thumbnails::draw(&spec, dir, stop),
        RunSpec::Import(spec) => {
            bound_import(&spec);
            import::run(&spec, dir, reporter, stop)
        }
        RunSpec::Export(spec) => export::run(&spec, dir, stop),
        RunSpec::Weights(spec) => weights::task::run(&spec, dir, reporter, stop),
        job => {
            device::prepare();
            train::run_job(&job, dir, reporter, stop)
        }
    }
}

/// Failures that a person can resolve, and that would recur if the same were tried again.
fn explained(fault: &anyhow::Error, is_export: bool) -> Option<JobError> {
    if fault.chain().any(disk::is_disk_full) {
        let message =
            "the server's disk is full; delete datasets or models that are no longer needed and try again";
        return Some(JobError::new(FailureCode::DiskFull, message));
    }
    if let Some(damaged) = damage_in(fault) {
        return Some(JobError::new(FailureCode::DataDamaged, damaged.to_string()));
    }
    let out_of_memory = fault
        .chain()
        .any(|cause| matches!(TorchFault::read(&cause.to_string()), TorchFault::OutOfMemory(_)));
    out_of_memory.then(|| {
        let message = match is_export {
            true => "not enough memory; try again when the server is less busy",
            false => {
                "not enough memory; choose a smaller `batch_size`, a smaller `image.size` or a smaller network"
            }
        };
        JobError::new(FailureCode::OutOfMemory, message)
    })
}

/// Background work yields to predictions, and to the server if the host runs out of memory. Neither affects the result, so a host that
/// forbids it is no reason to fail.
pub fn lower_priority() {
    if let Err(fault) = process::nice(19) {
        tracing::debug!("cannot lower the priority: {fault}");
    }
    if let Err(fault) = fs::write("/proc/self/oom_score_adj", "500") {
        tracing::debug!("cannot adjust the kernel's OOM score: {fault}");
    }
}

/// An archive is untrusted. `ingest` limits its own memory; this is for what a decoder could be made to do nevertheless. Memory-mapped
/// files do not count towards the memory: libtorch is one, and nothing in an archive can map another.
fn bound_resources(spec: &IngestRun) {
    const BASE: u64 = 3 << 30;
    // One image at the limit must always fit: a decoder's own 8 bytes per pixel and as many for its copies.
    let image = spec.limits.max_image_pixels.saturating_mul(16);
    let file = spec.limits.max_file_bytes.saturating_mul(2);
    limit(Resource::Data, BASE.saturating_add(image).saturating_add(file));
    limit(Resource::Fsize, largest_file(spec));
    // The archive three times, the files of the run, the pipes.
    limit(Resource::Nofile, 64);
}

/// A model is an untrusted file as well: its bytes, its tensors and the network are in memory one after the other, two of them at once.
fn bound_import(spec: &ImportRun) {
    const BASE: u64 = 3 << 30;
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

/// No core dumps: they would contain people's images. For every child, before anything else.
pub fn forbid_core_dumps() {
    limit(Resource::Core, 0);
}

fn limit(resource: Resource, bytes: u64) {
    let allowed = process::getrlimit(resource).maximum;
    let bytes = allowed.map_or(bytes, |allowed| allowed.min(bytes));
    let bound = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    if let Err(fault) = process::setrlimit(resource, bound) {
        tracing::warn!("cannot set a limit of the process: {fault}");
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::anyhow;

    use super::*;
    use crate::domain::damage::Damaged;

    #[test]
    fn what_a_person_can_mend_becomes_a_result_and_the_rest_does_not() {
        let full = anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull))
            .context("writing the checkpoint");
        let code = |fault: &anyhow::Error| explained(fault, false).map(|error| error.code);
        assert_eq!(code(&full), Some(FailureCode::DiskFull));
        let damaged = anyhow::Error::from(Damaged::new("it")).context("reading it");
        assert_eq!(code(&damaged), Some(FailureCode::DataDamaged));
        let memory = anyhow!("CUDA out of memory. Tried to allocate 2.00 GiB").context("step 12");
        assert_eq!(code(&memory), Some(FailureCode::OutOfMemory));
        assert_eq!(code(&anyhow!("a bug")), None);
    }

    #[test]
    fn a_directory_without_a_run_file_is_an_internal_error() {
        let folder = tempfile::tempdir().unwrap();
        let status = run(folder.path(), &Reporter::to(io::sink()), &StopFlag::default());
        assert_eq!(status, EXIT_INTERNAL);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
