//! From a queued job to its end: claiming, preparing and running attempts, and recording how they end.

pub mod activations;
pub mod attempt;
mod bases;
pub mod devices;
pub mod packs;
pub mod prepare;
mod quarantine;
pub mod recorder;
pub mod scheduler;
pub mod settle;
pub mod slots;
pub mod stopping;
pub mod verdict;
pub mod weights;
mod worker_command;
