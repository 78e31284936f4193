//! What training works with.

use std::sync::Arc;
use tch::{Device, Kind};

use super::{
    checkpoints::checkpoint::Machine,
    input::{data::Data, pack::Pack},
    plan::Plan,
};

/// What training works with; nothing in it changes while it runs.
pub struct Ground {
    pub data: Data,
    pub plan: Plan,
    pub pack: Arc<Pack>,
    pub device: Device,
    /// What convolutions compute in.
    pub kind: Kind,
    pub machine: Machine,
    /// See [`identity`](super::checkpoints::checkpoint::identity).
    pub job: String,
}
