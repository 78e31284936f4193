//! The fixed inputs of a training.

use std::{rc::Rc, sync::Arc};

use tch::{Device, Kind};

use super::{
    checkpoints::checkpoint::Machine,
    input::{data::Data, pack::Pack},
    plan::Plan,
    transfer::distill::teachers::Teachers,
};
use crate::{domain::spec::EvaluatedSplit, protocol::TrainRun, worker::process::run_dir::RunDir};

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
    /// Images of another dataset that go along, without their labels.
    pub unlabelled: Option<Box<Unlabelled>>,
    /// The models that are learned from.
    pub teachers: Option<Rc<Teachers>>,
}

/// Images that go along with those of a training.
pub struct Unlabelled {
    /// The run, as if their dataset were its own.
    pub run: TrainRun,
    /// `data.train` are the images that take part without labels, `data.val` those by whose labels the result is judged, if there are any.
    /// These may be the same images.
    pub context: TrainContext,
    /// The split of the latter; none where there are no labels, or they do not matter.
    pub split: Option<EvaluatedSplit>,
    /// For what is made of its images, below the directory of the run.
    pub dir: RunDir,
}
