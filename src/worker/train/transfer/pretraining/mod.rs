//! Learning from images without labels: what two views of an image have in common.
//!
//! `siamese` and `dino` are the two losses and what learns with them beside the network; `quality` says how good the features are.

mod dino;
#[cfg(test)]
mod golden;
pub mod quality;
mod siamese;
mod views;

use tch::{Device, Tensor};

use self::{dino::Dino, siamese::Siamese, views::Views};
use super::term::Term;
use crate::{
    domain::spec::PretrainMethod,
    protocol::TrainRun,
    worker::{
        files::state::StateDict,
        nets::{Network, Parameter},
    },
};

/// What learns beside the network.
pub enum Pretraining {
    Siamese(Box<Siamese>),
    Dino(Box<Dino>),
}

impl Pretraining {
    /// None where the run learns from labels.
    pub fn of(run: &TrainRun, network: &Network, device: Device) -> Option<Self> {
        let features = network.architecture().features();
        Some(match run.pretraining? {
            PretrainMethod::Simsiam => {
                let siamese = Siamese::new(features, run.spec.seed, device);
                Self::Siamese(Box::new(siamese))
            }
            PretrainMethod::Dino => {
                let dino = Dino::new(features, run.spec.epochs, run.spec.seed, device);
                Self::Dino(Box::new(dino))
            }
        })
    }

    /// Whether the features that the moving average of the network has are needed, too.
    pub fn has_teacher(&self) -> bool {
        matches!(self, Self::Dino(_))
    }

    /// The loss of some images, and what [`Pretraining::count`] takes once their gradients are there. `theirs` are the features of the
    /// teacher, where there is one.
    pub fn of_views(&self, own: Views, theirs: Option<Views>) -> (Term, Option<Tensor>) {
        match (self, theirs) {
            (Self::Dino(dino), Some(theirs)) => dino.of_views(own, theirs),
            (Self::Siamese(siamese), _) => (siamese.of_views(own), None),
            (Self::Dino(_), None) => unreachable!("its teacher sees all images"),
        }
    }

    /// Counts images of a step.
    pub fn count(&self, seen: Option<Tensor>) {
        if let (Self::Dino(dino), Some(seen)) = (self, seen) {
            dino.count(seen);
        }
    }

    /// Ends a step; `decay` is that of the moving average.
    pub fn follow(&self, decay: f64) {
        if let Self::Dino(dino) = self {
            dino.follow(decay);
        }
    }

    /// What learns in this epoch (from 1).
    pub fn parameters(&self, epoch: u32) -> Vec<Parameter> {
        match self {
            Self::Siamese(siamese) => siamese.parameters(),
            Self::Dino(dino) => dino.parameters(epoch),
        }
    }

    /// What a checkpoint has of it.
    pub fn state(&self) -> StateDict {
        match self {
            Self::Siamese(siamese) => siamese.state(),
            Self::Dino(dino) => dino.state(),
        }
    }

    /// # Errors
    /// The name of a tensor that is missing or of another shape.
    pub fn restore(&self, saved: &StateDict) -> Result<(), String> {
        match self {
            Self::Siamese(siamese) => siamese.restore(saved),
            Self::Dino(dino) => dino.restore(saved),
        }
    }
}
