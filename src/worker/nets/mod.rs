//! Networks: a backbone of named stages, a head, and the named tensors that both are made of.
//!
//! Used by training and by prediction. A network computes; it does not know optimisers, files or pictures. Tensor names and shapes are
//! torchvision's, so that weights travel both ways. See [`Network`].

mod binder;
pub mod eval;
pub mod folded;
mod fused;
mod initialise;
pub mod input;
pub mod layers;
mod resnet;
pub mod winograd;

#[cfg(test)]
mod published;
#[cfg(test)]
pub(crate) mod tests;

use tch::{Device, Kind, Tensor};

use self::{
    binder::Binder,
    initialise::Init,
    layers::{Linear, Mode},
    resnet::ResNet,
};
use crate::{
    domain::architecture::{Architecture, Stage, design::Design},
    worker::state::StateDict,
};

pub use self::binder::LoadFault;

/// A network on a device. Its layers and its named state share their tensors: what changes in one changes in the other.
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    backbone: ResNet,
    head: Linear,
    state: StateDict,
    /// What convolutions compute in.
    kind: Kind,
}

/// Where the head of a network for training came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOrigin {
    /// From the weights: they have one for as many classes.
    Weights,
    /// Drawn: the weights have none, or one for this many classes.
    Drawn { left_out: Option<i64> },
}

/// A tensor that can learn.
#[derive(Debug)]
pub struct Parameter {
    pub name: String,
    /// None: it is the head's.
    pub stage: Option<Stage>,
    /// Shares its memory with the network.
    pub tensor: Tensor,
}

impl Network {
    /// A network with random weights.
    pub fn drawn(architecture: Architecture, classes: usize, seed: u64, device: Device) -> Self {
        let mut tensors = Binder::drawn(seed, device);
        let (backbone, head) = build(architecture, classes, &mut tensors);
        Self {
            architecture,
            backbone,
            head,
            state: tensors.into_drawn(),
            kind: Kind::Float,
        }
    }

    /// A network with exactly these weights.
    ///
    /// # Errors
    /// Everything that is missing, too much or of another shape.
    pub fn loaded(
        architecture: Architecture,
        classes: usize,
        weights: &StateDict,
        device: Device,
    ) -> Result<Self, LoadFault> {
        let mut tensors = Binder::given(weights, device);
        let (backbone, head) = build(architecture, classes, &mut tensors);
        let state = binder::finish(architecture, [tensors], &[])?;
        Ok(Self {
            architecture,
            backbone,
            head,
            state,
            kind: Kind::Float,
        })
    }

    /// A network to go on training from these weights. Their head is kept where it is for as many classes, otherwise one is drawn.
    ///
    /// # Errors
    /// As [`Network::loaded`], for all that is not the head.
    pub fn fine_tuned(
        architecture: Architecture,
        classes: usize,
        weights: &StateDict,
        seed: u64,
        device: Device,
    ) -> Result<(Self, HeadOrigin), LoadFault> {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{}.{part}", architecture.head()));
        let outputs = weights
            .get(&weight)
            .and_then(|weight| weight.size().first().copied());
        if outputs == Some(classes as i64) {
            let network = Self::loaded(architecture, classes, weights, device)?;
            return Ok((network, HeadOrigin::Weights));
        }
        let mut given = Binder::given(weights, device);
        let mut drawn = Binder::drawn(seed, device);
        let backbone = ResNet::build(&Design::of(architecture), &mut given);
        let head = build_head(architecture, classes, &mut drawn);
        let state = binder::finish(architecture, [given, drawn], &[&weight, &bias])?;
        let network = Self {
            architecture,
            backbone,
            head,
            state,
            kind: Kind::Float,
        };
        Ok((network, HeadOrigin::Drawn { left_out: outputs }))
    }

    /// The same network with convolutions that compute in floats of this kind. Its tensors, the head, and what leaves its stages, are
    /// 32-bit floats in any case.
    pub fn computing_in(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// What convolutions compute in.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// All tensors by torchvision's names, as they are now: they share their memory with the network.
    pub fn state(&self) -> &StateDict {
        &self.state
    }

    /// Carries what left the stage `after` (where it is none: pictures `[N, 3, H, W]`, see [`input`]) through the stages up to and
    /// with `last`. What leaves the last stage of all is the feature vector `[N, features]`.
    pub fn stages(&self, input: &Tensor, after: Option<Stage>, last: Stage, mode: Mode) -> Tensor {
        let output = self
            .backbone
            .forward(&input.to_kind(self.kind), after, last, mode);
        output.to_kind(Kind::Float)
    }

    /// Logits `[N, classes]` of feature vectors.
    pub fn head(&self, features: &Tensor) -> Tensor {
        self.head.forward(features)
    }

    /// Logits `[N, classes]` of pictures `[N, 3, H, W]`, without gradients, nothing in the network changing.
    pub fn logits(&self, pictures: &Tensor) -> Tensor {
        tch::no_grad(|| self.head(&self.stages(pictures, None, self.architecture.last_stage(), Mode::Eval)))
    }

    /// What can learn, in the order of names.
    pub fn parameters(&self) -> Vec<Parameter> {
        let learns = |name: &str| !name.contains(".running_") && !name.ends_with(".num_batches_tracked");
        let named = self.state.iter().filter(|(name, _)| learns(name));
        named
            .map(|(name, tensor)| Parameter {
                name: name.clone(),
                stage: resnet::stage_of(name),
                tensor: tensor.shallow_clone(),
            })
            .collect()
    }

    /// Whether a tensor belongs to a stage after `frozen`, or to the head.
    pub fn is_after(name: &str, frozen: Option<Stage>) -> bool {
        match (resnet::stage_of(name), frozen) {
            (Some(stage), Some(frozen)) => stage > frozen,
            (None, _) | (_, None) => true,
        }
    }
}

fn build(architecture: Architecture, classes: usize, tensors: &mut Binder) -> (ResNet, Linear) {
    let backbone = ResNet::build(&Design::of(architecture), tensors);
    let head = build_head(architecture, classes, tensors);
    (backbone, head)
}

/// The layer that makes logits of features.
fn build_head(architecture: Architecture, classes: usize, tensors: &mut Binder) -> Linear {
    let (name, features, classes) = (
        architecture.head(),
        architecture.features() as i64,
        classes as i64,
    );
    let init = Init::linear(features);
    Linear {
        weight: tensors.floats(format!("{name}.weight"), &[classes, features], init),
        bias: tensors.floats(format!("{name}.bias"), &[classes], init),
    }
}
