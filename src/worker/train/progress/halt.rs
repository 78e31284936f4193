//! How a run can end without a model. Only used inside `train`; [`crate::worker::train::run`] converts it for the rest of the worker.

use std::io;

use crate::{
    domain::jobs::job::{FailureCode, JobError},
    worker::{
        fault::TorchFault,
        files::{bundle::BundleFault, state::StateFault},
        nets::LoadFault,
        process::{disk, stored::damage_in},
        weights::WeightsFault,
    },
};

/// Why training ends without a model.
#[derive(Debug)]
pub enum Halt {
    /// The server asked for it, and the state is saved.
    Stopped,
    /// The job cannot be done; retrying would not help.
    Failed(JobError),
    /// A bug or a fault of the machine; another attempt may succeed.
    Broken(anyhow::Error),
}

impl Halt {
    pub fn failed(code: FailureCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Halt::Failed(JobError { code, message })
    }
}

impl From<WeightsFault> for Halt {
    fn from(fault: WeightsFault) -> Self {
        match fault {
            WeightsFault::Stopped => Halt::Stopped,
            WeightsFault::Failed(error) => Halt::Failed(error),
        }
    }
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        if error.chain().any(disk::is_disk_full) {
            let message = "the server's disk is full; delete datasets, jobs or models that are no longer needed and try again";
            return Halt::failed(FailureCode::DiskFull, message);
        }
        if let Some(damaged) = damage_in(&error) {
            return Halt::failed(FailureCode::DataDamaged, damaged.to_string());
        }
        Halt::Broken(error)
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        anyhow::Error::new(error).into()
    }
}

impl From<StateFault> for Halt {
    fn from(fault: StateFault) -> Self {
        anyhow::Error::new(fault).into()
    }
}

impl From<BundleFault> for Halt {
    fn from(fault: BundleFault) -> Self {
        anyhow::Error::new(fault).into()
    }
}

impl From<TorchFault> for Halt {
    fn from(fault: TorchFault) -> Self {
        anyhow::Error::new(fault).into()
    }
}

impl From<LoadFault> for Halt {
    fn from(fault: LoadFault) -> Self {
        anyhow::Error::new(fault).into()
    }
}
