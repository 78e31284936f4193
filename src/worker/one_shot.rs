//! The life of a one-shot child (`ingest`, `train`, `evaluate`, `lr-find`, `batch-predict`, `preview`, `thumbnails`, `import`, `export`): read what is wanted, do it, write the result last, leave with a status that says
//! which of these came about.
//!
//! Statuses: 0 with a result file, [`EXIT_STOPPED`] without one because the server asked, [`EXIT_DISK_FULL`] where it has no room,
//! [`EXIT_INTERNAL`] for anything that is nobody's input's fault; then one line on stderr says what.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use rustix::process::{self, Resource, Rlimit};

use crate::{
    domain::{
        damage::Damaged,
        dataset::DatasetError,
        job::{FailureCode, JobError},
    },
    protocol::{EXIT_DISK_FULL, EXIT_STOPPED, ImportRun, IngestRun, RunResult, RunSpec},
    worker::{
        child::{Reporter, RunDir, StopFlag, Stopped},
        device, disk, export,
        fault::{self, TorchFault},
        import, ingest, pixels,
        stored::damage_in,
        thumbnails, train,
    },
};

/// `EX_SOFTWARE`
pub const EXIT_INTERNAL: i32 = 70;

/// Which of them a child was started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ingest,
    Train,
    Evaluate,
    LrFind,
    BatchPredict,
    Preview,
    Thumbnails,
    Import,
    Export,
}

/// Carries out what the run directory asks for and returns the status to leave with.
pub fn run(kind: Kind, folder: &Path, reporter: &Reporter, stop: &StopFlag) -> i32 {
    let dir = RunDir::new(folder);
    let spec = dir.spec().context("the run file cannot be read");
    let dir = match &spec {
        Ok(spec) if spec.waits_for_disk() => dir.waiting_for_room(reporter, stop),
        _ => dir,
    };
    let outcome = fault::caught(|| carry_out(kind, spec?, &dir, reporter, stop));
    let outcome = outcome.unwrap_or_else(|fault| Err(fault.into()));
    let result = match outcome {
        Ok(result) => result,
        Err(fault) if fault.is::<Stopped>() => return EXIT_STOPPED,
        Err(fault) => match explained(kind, &fault) {
            Some(result) => result,
            None => {
                eprintln!("finetuned-worker: {fault:#}");
                return EXIT_INTERNAL;
            }
        },
    };
    match dir.finish(&result) {
        Ok(()) => 0,
        Err(fault) => {
            eprintln!("finetuned-worker: the result cannot be written: {fault}");
            if disk::is_disk_full(&fault) {
                EXIT_DISK_FULL
            } else {
                EXIT_INTERNAL
            }
        }
    }
}

fn carry_out(
    kind: Kind,
    spec: RunSpec,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> anyhow::Result<RunResult> {
    match (kind, spec) {
        (Kind::Ingest, RunSpec::Ingest(spec)) => {
            bound_resources(&spec);
            ingest::run(&spec, dir, reporter, stop)
        }
        (Kind::Train, RunSpec::Train(spec)) => {
            device::prepare();
            train::run(&spec, dir, reporter, stop)
        }
        (Kind::Evaluate, RunSpec::Evaluate(spec)) => {
            device::prepare();
            train::evaluate(&spec, dir, reporter, stop)
        }
        (Kind::LrFind, RunSpec::LrFind(spec)) => {
            device::prepare();
            train::find_lr(&spec, dir, reporter, stop)
        }
        (Kind::BatchPredict, RunSpec::BatchPredict(spec)) => {
            device::prepare();
            train::batch_predict(&spec, dir, reporter, stop)
        }
        (Kind::Preview, RunSpec::Preview(spec)) => train::preview(&spec, dir, reporter, stop),
        (Kind::Thumbnails, RunSpec::Thumbnails(spec)) => thumbnails::draw(&spec, dir, stop),
        (Kind::Import, RunSpec::Import(spec)) => {
            bound_import(&spec);
            import::run(&spec, dir, reporter, stop)
        }
        (Kind::Import, _) => bail!("the run file does not ask for an import"),
        (Kind::Export, RunSpec::Export(spec)) => export::run(&spec, dir, stop),
        (Kind::Ingest, _) => bail!("the run file does not ask for an ingest"),
        (Kind::Train, _) => bail!("the run file does not ask for a training"),
        (Kind::Evaluate, _) => bail!("the run file does not ask for an evaluation"),
        (Kind::LrFind, _) => bail!("the run file does not ask for a search for a learning rate"),
        (Kind::BatchPredict, _) => bail!("the run file does not ask for a batch prediction"),
        (Kind::Preview, _) => bail!("the run file does not ask for a preview"),
        (Kind::Thumbnails, _) => bail!("the run file does not ask for thumbnails"),
        (Kind::Export, _) => bail!("the run file does not ask for an export"),
    }
}

/// Failures that a person can do something about, and that would come again if the same were tried again.
fn explained(kind: Kind, fault: &anyhow::Error) -> Option<RunResult> {
    if fault.chain().any(disk::is_disk_full) {
        let message =
            "the server's disk is full; delete datasets or models that are no longer needed and try again";
        return Some(failure(kind, FailureCode::DiskFull, "disk_full", message));
    }
    if let Some(damaged) = damage_in(fault) {
        let message = damaged.to_string();
        return Some(failure(kind, FailureCode::DataDamaged, Damaged::CODE, &message));
    }
    let out_of_memory = fault
        .chain()
        .any(|cause| matches!(TorchFault::read(&cause.to_string()), TorchFault::OutOfMemory(_)));
    if out_of_memory {
        let message = match kind {
            Kind::Export => "memory does not suffice; try again when the server has less to do",
            _ => {
                "memory does not suffice; choose a smaller `batch_size`, a smaller `image.size` or a smaller network"
            }
        };
        return Some(failure(kind, FailureCode::OutOfMemory, "out_of_memory", message));
    }
    None
}

fn failure(kind: Kind, code: FailureCode, dataset_code: &str, message: &str) -> RunResult {
    let message = message.to_owned();
    match kind {
        Kind::Train
        | Kind::Evaluate
        | Kind::LrFind
        | Kind::BatchPredict
        | Kind::Preview
        | Kind::Thumbnails
        | Kind::Import
        | Kind::Export => RunResult::Failed {
            error: JobError { code, message },
        },
        Kind::Ingest => RunResult::Rejected {
            error: DatasetError {
                code: dataset_code.to_owned(),
                message,
            },
            report: None,
            report_entries: None,
        },
    }
}

/// Work that nobody waits for by the second gives way to predictions, and to the server where the host runs out of memory.
/// Neither is needed for the result, so that a host that forbids it is no reason to fail.
pub fn lower_priority() {
    if let Err(fault) = process::nice(19) {
        tracing::debug!("the priority stays as it is: {fault}");
    }
    if let Err(fault) = fs::write("/proc/self/oom_score_adj", "500") {
        tracing::debug!("the order in which the kernel ends processes stays as it is: {fault}");
    }
}

/// An archive is a stranger's. `ingest` bounds what it has in its hands at once; this is for what a decoder could be made to do all the
/// same. Memory-mapped files do not count towards the memory: libtorch is one, and nothing in an archive can map another.
fn bound_resources(spec: &IngestRun) {
    const BASE: u64 = 3 << 30;
    // One picture at the limit always has to fit: a decoder's own 8 bytes for each pixel and as many for the copies of it.
    let picture = spec.limits.max_image_pixels.saturating_mul(16);
    let file = spec.limits.max_file_bytes.saturating_mul(2);
    limit(Resource::Data, BASE.saturating_add(picture).saturating_add(file));
    limit(Resource::Fsize, largest_file(spec));
    // The archive three times, the files of the run, the pipes.
    limit(Resource::Nofile, 64);
}

/// A model is a stranger's file as well: its bytes, its tensors and the network are in memory one after the other, two of them at once.
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

/// All images or all packed pictures lie in one file; how long the report is, the limits on entries and paths say.
fn largest_file(spec: &IngestRun) -> u64 {
    let side = u64::from(spec.pack_side);
    let packed_picture = side * side * u64::from(pixels::MAX_ASPECT) * 3;
    let packed = spec.limits.max_entries.saturating_mul(packed_picture);
    let described = spec.limits.max_path_bytes as u64 + 4096;
    packed
        .max(spec.limits.max_expanded_bytes)
        .max(spec.limits.max_entries.saturating_mul(described))
}

/// No core dumps: they would hold people's pictures. For every child, before anything else.
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
        tracing::warn!("a limit of the process cannot be set: {fault}");
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_a_person_can_mend_becomes_a_result_and_the_rest_does_not() {
        let full = anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull))
            .context("writing the checkpoint");
        let result = explained(Kind::Train, &full);
        assert!(matches!(result, Some(RunResult::Failed { error }) if error.code == FailureCode::DiskFull));
        let damaged = anyhow::Error::from(Damaged::new("it")).context("reading it");
        let result = explained(Kind::Export, &damaged);
        assert!(
            matches!(result, Some(RunResult::Failed { error }) if error.code == FailureCode::DataDamaged)
        );
        let result = explained(Kind::Ingest, &full);
        assert!(matches!(result, Some(RunResult::Rejected { error, .. }) if error.code == "disk_full"));
        let memory = anyhow!("CUDA out of memory. Tried to allocate 2.00 GiB").context("step 12");
        let result = explained(Kind::Train, &memory);
        assert!(
            matches!(result, Some(RunResult::Failed { error }) if error.code == FailureCode::OutOfMemory)
        );
        assert_eq!(explained(Kind::Train, &anyhow!("a bug")), None);
    }

    #[test]
    fn a_directory_without_a_run_file_is_an_internal_error() {
        let folder = tempfile::tempdir().unwrap();
        let status = run(
            Kind::Train,
            folder.path(),
            &Reporter::to(io::sink()),
            &StopFlag::default(),
        );
        assert_eq!(status, EXIT_INTERNAL);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
