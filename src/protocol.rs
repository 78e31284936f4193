//! Everything that the two programs exchange. serde only: no I/O here.
//!
//! A one-shot child (`finetuned-worker run`) gets a directory with [`RUN_FILE`] in it, sends [`WorkerMessage`]s as lines of JSON on its
//! stdout, writes its output into that directory, and finally, by rename, [`RESULT_FILE`]. Its stdin carries no data: its end means
//! "checkpoint and exit". A `predict` child uses [`frames`] in both directions. `devices` prints a list of [`Device`]s.

mod dataset;
pub mod frames;
pub mod memory;
mod message;
mod needs;
mod result;
mod run;
mod weights;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    dataset::{DatasetInput, KnownPack, MadePack, ManifestImage, PackSize, Segment, UsedPacks},
    message::WorkerMessage,
    result::{
        Artifact, BulkFile, FoundResult, ImportResult, IngestResult, PredictedResult, Refusal, RunResult,
        TrainResult, UsedActivations, WeightsReport,
    },
    run::*,
    weights::{HubSource, RegistryAccess, RegistrySource, WeightsSource},
};

/// The task: written into the run directory before the child starts.
pub const RUN_FILE: &str = "run.json";
/// The outcome: written by the child, last, by rename.
pub const RESULT_FILE: &str = "result.json";
/// Name of the list of packs in the run directory.
pub const PACKS_FILE: &str = "packs.json";
/// Exit status of a child that exits because its stdin was closed, with its state saved (`EX_TEMPFAIL`).
pub const EXIT_STOPPED: i32 = 75;
/// Exit status of a child that cannot even write its result because the disk is full (`EX_CANTCREAT`).
pub const EXIT_DISK_FULL: i32 = 73;
/// Exit status of a child whose device failed: no later call to it could have succeeded (`EX_PROTOCOL`).
pub const EXIT_DEVICE_LOST: i32 = 76;

/// A device that can train or predict, as `finetuned-worker devices` lists them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// `cpu` or `cuda:N`.
    pub name: String,
    /// Model of the processor or GPU.
    pub description: String,
    /// Threads that a worker on it uses for arithmetic.
    pub threads: u32,
    /// Memory of the host or the GPU.
    pub memory_bytes: u64,
    /// Of a GPU, as `0000:3b:00.0`: other libraries number GPUs differently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
}
