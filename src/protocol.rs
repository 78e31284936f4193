//! Everything that the two programs say to each other. serde only: no I/O here.
//!
//! A one-shot child (`finetuned-worker run`) gets a directory with [`RUN_FILE`] in it, tells [`WorkerMessage`]s as lines of JSON on its
//! stdout, writes whatever it makes into that directory, and last of all, by rename, [`RESULT_FILE`]. Its stdin carries nothing: its
//! end means "checkpoint and leave". A `predict` child speaks [`frames`] both ways. `devices` prints a list of [`Device`]s.

mod dataset;
pub mod frames;
mod message;
mod result;
mod run;
mod weights;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    dataset::{DatasetInput, KnownPack, MadePack, ManifestImage, PackSize, Segment, UsedPacks},
    message::WorkerMessage,
    result::{
        Artifact, BulkFile, ImportResult, IngestResult, PredictedResult, Refusal, RunResult, TrainResult,
        UsedActivations,
    },
    run::*,
    weights::{HubSource, WeightsSource},
};

/// What the server wants: written into the run directory before the child starts.
pub const RUN_FILE: &str = "run.json";
/// What came of it: written by the child, last, by rename.
pub const RESULT_FILE: &str = "result.json";
/// Name of the list of packs in the run directory.
pub const PACKS_FILE: &str = "packs.json";
/// A child that leaves because its stdin ended, its state saved, exits with this status (`EX_TEMPFAIL`).
pub const EXIT_STOPPED: i32 = 75;
/// A child that cannot even write its result, because the disk is full, exits with this status (`EX_CANTCREAT`).
pub const EXIT_DISK_FULL: i32 = 73;

/// A device that can train or predict, as `finetuned-worker devices` lists them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// `cpu` or `cuda:N`.
    pub name: String,
    /// Model of the processor or card.
    pub description: String,
    /// Threads that a worker on it uses for arithmetic.
    pub threads: u32,
    /// Memory of the host or the card.
    pub memory_bytes: u64,
}
