//! The life of a one-shot child (`finetuned-worker run`): read the task, do it, write the result last, exit with a status for the outcome.
//!
//! Statuses: 0 with a result file, [`EXIT_STOPPED`] without one because the server asked, [`EXIT_DISK_FULL`] if the disk is full,
//! [`EXIT_DEVICE_LOST`] if the GPU failed, [`EXIT_INTERNAL`] for anything else that is not caused by input; then one line on stderr says
//! what.

use std::{fs, path::Path};

use anyhow::Context;
use rustix::process;

use super::process::{
    child::{Reporter, StopFlag, Stopped},
    disk,
    run_dir::RunDir,
    stored::damage_in,
};
use crate::{
    domain::jobs::job::{FailureCode, JobError},
    protocol::{EXIT_DEVICE_LOST, EXIT_DISK_FULL, EXIT_STOPPED, RunResult, RunSpec},
    sandbox::Mode,
    worker::{
        bounds,
        confinement::{self, Confined},
        device, export,
        fault::{self, TorchFault},
        import, ingest, thumbnails, train, weights,
    },
};

/// `EX_SOFTWARE`
pub const EXIT_INTERNAL: i32 = 70;

/// Reads the task of the run directory, limits this process to what it needs, and fetches what it lacks. Before there is a second thread.
///
/// # Errors
/// There is no task, or no sandbox although there must be; [`Stopped`].
pub fn prepare(folder: &Path, mode: Mode, reporter: &Reporter) -> anyhow::Result<Confined> {
    let spec = RunDir::new(folder).spec().context("cannot read the run file")?;
    bounds::bound(&spec);
    bounds::bound_threads();
    device::see_only(spec.device().unwrap_or("cpu"));
    confinement::confine(spec, folder, mode, reporter)
}

/// Does the task of the run directory and returns the exit status.
pub fn run(folder: &Path, prepared: anyhow::Result<Confined>, reporter: &Reporter, stop: &StopFlag) -> i32 {
    let dir = RunDir::new(folder);
    let dir = match &prepared {
        Ok(Confined::Ready(spec)) if spec.waits_for_disk() => dir.waiting_for_room(reporter, stop),
        _ => dir,
    };
    let is_export = matches!(prepared, Ok(Confined::Ready(RunSpec::Export(_))));
    let outcome = fault::caught(|| match prepared? {
        Confined::Ready(spec) => carry_out(spec, &dir, reporter, stop),
        Confined::Failed(error) => Ok(RunResult::Failed(error)),
    });
    let outcome = outcome.unwrap_or_else(|fault| Err(fault.into()));
    let result = match outcome {
        Ok(result) => result,
        Err(fault) if fault.is::<Stopped>() => return EXIT_STOPPED,
        Err(fault) => match explained(&fault, is_export) {
            Some(error) => RunResult::Failed(error),
            None => {
                eprintln!("finetuned-worker: {fault:#}");
                return status(&fault);
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
        RunSpec::Ingest(spec) => ingest::run(&spec, dir, reporter, stop),
        RunSpec::Preview(spec) => train::preview(&spec, dir, reporter, stop),
        RunSpec::Thumbnails(spec) => thumbnails::draw(&spec, dir, stop),
        RunSpec::Import(spec) => import::run(&spec, dir, reporter, stop),
        RunSpec::Export(spec) => export::run(&spec, dir, stop),
        RunSpec::Weights(spec) => weights::task::run(&spec, dir, reporter, stop),
        job => {
            device::prepare();
            train::run_job(&job, dir, reporter, stop)
        }
    }
}

/// The exit status for a failure that is nobody's to resolve.
pub fn status(fault: &anyhow::Error) -> i32 {
    let mut causes = fault
        .chain()
        .map(|cause| match cause.downcast_ref::<TorchFault>() {
            Some(fault) => fault.clone(),
            None => TorchFault::read(&cause.to_string()),
        });
    match causes.any(|cause| matches!(cause, TorchFault::DeviceLost(_))) {
        true => EXIT_DEVICE_LOST,
        false => EXIT_INTERNAL,
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
    fn a_failed_gpu_has_a_status_of_its_own() {
        for lost in [
            anyhow::Error::from(TorchFault::DeviceLost("an illegal memory access".to_owned()))
                .context("step 12"),
            anyhow!("CUDA error: unspecified launch failure").context("reading it"),
        ] {
            assert_eq!(explained(&lost, false), None);
            assert_eq!(status(&lost), EXIT_DEVICE_LOST, "{lost:#}");
        }
        assert_eq!(status(&anyhow!("a bug")), EXIT_INTERNAL);
    }

    #[test]
    fn a_directory_without_a_run_file_is_an_internal_error() {
        let folder = tempfile::tempdir().unwrap();
        let reporter = Reporter::to(io::sink());
        let prepared = prepare(folder.path(), Mode::Off, &reporter);
        let status = run(folder.path(), prepared, &reporter, &StopFlag::default());
        assert_eq!(status, EXIT_INTERNAL);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
