//! The fixed inputs of a training.

use std::sync::Arc;
use tch::{Device, Kind};

use super::{
    checkpoints::checkpoint::Machine,
    input::{data::Data, pack::Pack},
    plan::Plan,
};

/// The fixed inputs of a training; nothing in it changes while it runs.
pub struct TrainContext {
    pub data: Data,
    pub plan: Plan,
    pub pack: Arc<Pack>,
    pub device: Device,
    /// The type that convolutions compute in.
    pub kind: Kind,
    pub machine: Machine,
    /// See [`identity`](super::checkpoints::checkpoint::identity).
    pub job: String,
}
