//! A network that learns: frozen stages, learning stages, head, loss and optimiser, one batch at a time.
//!
//! The frozen stages are a function of the picture alone (their BatchNorm is in eval mode), so that what leaves them, the boundary
//! activations, may be computed once and used often. Everything else here begins at that boundary.

use tch::{Kind, Reduction, Tensor};

use super::sgd::Sgd;
use crate::{
    domain::spec::{OptimizerSpec, Stage},
    worker::{
        nets::{Network, layers::Mode},
        state::StateDict,
    },
};

/// A network and what makes it learn.
pub struct Learner {
    pub network: Network,
    pub optimizer: Sgd,
    frozen: Option<Stage>,
}

/// Loss and hits of one batch, still on the device: reading them waits for the device.
pub struct Outcome {
    /// Mean cross entropy over the batch, a scalar.
    pub loss: Tensor,
    /// Pictures whose likeliest class is the right one, a scalar of 64-bit integers.
    pub correct: Tensor,
}

impl Learner {
    /// Stages up to and with `frozen` do not learn.
    pub fn new(network: Network, frozen: Option<Stage>, spec: &OptimizerSpec) -> Self {
        let mut parameters = network.parameters();
        parameters.retain(|parameter| Network::is_after(&parameter.name, frozen));
        Self {
            optimizer: Sgd::new(parameters, spec),
            network,
            frozen,
        }
    }

    /// Whether the boundary is not the pictures themselves.
    pub fn has_frozen_stages(&self) -> bool {
        self.frozen.is_some()
    }

    /// Boundary activations of pictures `[N, 3, H, W]`; the pictures themselves where nothing is frozen.
    pub fn boundary(&self, pictures: &Tensor) -> Tensor {
        match self.frozen {
            None => pictures.shallow_clone(),
            Some(last) => tch::no_grad(|| self.network.stages(pictures, None, last, Mode::Eval)),
        }
    }

    /// Learns from one batch: boundary activations and labels `[N]` (64-bit integers). `lr` is the head's learning rate.
    pub fn step(&mut self, boundary: &Tensor, labels: &Tensor, lr: f64) -> Outcome {
        let logits = self.logits(boundary, Mode::Train);
        let loss = cross_entropy(&logits, labels);
        self.optimizer.step(&loss, lr);
        outcome(&logits, &loss, labels)
    }

    /// Judges one batch, nothing changing.
    pub fn judge(&self, boundary: &Tensor, labels: &Tensor) -> Outcome {
        tch::no_grad(|| {
            let logits = self.logits(boundary, Mode::Eval);
            outcome(&logits, &cross_entropy(&logits, labels), labels)
        })
    }

    /// All tensors of the frozen stages: those that training does not change.
    pub fn staying(&self) -> StateDict {
        let state = self.network.state().iter();
        let staying = state.filter(|(name, _)| !Network::is_after(name, self.frozen));
        staying
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect()
    }

    /// Logits of one batch, `[N, classes]`, nothing changing.
    pub fn outputs(&self, boundary: &Tensor) -> Tensor {
        tch::no_grad(|| self.logits(boundary, Mode::Eval))
    }

    /// Takes tensors that training can change back from where [`Learner::changing`] copied them to.
    pub fn take_back(&mut self, weights: &StateDict) {
        tch::no_grad(|| {
            for (name, own) in self.network.state() {
                if let Some(saved) = weights.get(name) {
                    own.shallow_clone().copy_(saved);
                }
            }
        });
    }

    /// Copies of all tensors that training can change.
    pub fn changing(&self) -> StateDict {
        let state = self.network.state().iter();
        let changing = state.filter(|(name, _)| Network::is_after(name, self.frozen));
        changing
            .map(|(name, tensor)| (name.clone(), tensor.detach().copy()))
            .collect()
    }

    /// The network's tensors, those that are in `weights` taken from there.
    pub fn with(&self, weights: &StateDict) -> StateDict {
        let state = self.network.state().iter();
        let chosen =
            state.map(|(name, own)| (name.clone(), weights.get(name).unwrap_or(own).shallow_clone()));
        chosen.collect()
    }

    /// Whether every tensor that can change holds numbers only.
    pub fn is_finite(&self) -> bool {
        let mut tensors = self
            .network
            .state()
            .iter()
            .filter(|(name, _)| Network::is_after(name, self.frozen));
        tensors.all(|(_, tensor)| tensor.isfinite().all().int64_value(&[]) != 0)
    }

    fn logits(&self, boundary: &Tensor, mode: Mode) -> Tensor {
        let last = self.network.architecture().last_stage();
        let features = match self.frozen {
            Some(frozen) if frozen == last => boundary.shallow_clone(),
            frozen => self.network.stages(boundary, frozen, last, mode),
        };
        self.network.head(&features)
    }
}

fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    let ignored_label = -100;
    logits.cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, ignored_label, 0.0)
}

fn outcome(logits: &Tensor, loss: &Tensor, labels: &Tensor) -> Outcome {
    let hits = logits.detach().argmax(1, false).eq_tensor(labels);
    Outcome {
        loss: loss.detach(),
        correct: hits.sum(Kind::Int64),
    }
}
