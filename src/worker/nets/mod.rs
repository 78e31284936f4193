//! Networks: a backbone of named stages, a head, and their named tensors.
//!
//! Used by training and by prediction. A network computes; it does not know optimisers, files or images. Its design is in
//! [`crate::domain::architecture`], with torchvision's names and shapes of tensors, so that weights can be exchanged in both directions.
//! See [`Network`].

pub mod aside;
mod binder;
pub mod dropout;
pub mod eval;
pub mod folded;
pub mod foreign;
mod fused;
pub mod heads;
mod initialise;
pub mod input;
pub mod layers;
mod leaf;
pub mod low_rank;
pub mod perceptron;
pub mod tokens;
mod tree;
pub mod winograd;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) mod vocabulary;

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use self::{
    binder::Binder,
    layers::Mode,
    tree::{Tree, sequence},
};
use super::files::{adapters, state::StateDict};
use crate::domain::{
    architecture::{
        Architecture, Outputs, Stage, auxiliary::Place, layer::Layer, network::NetworkDesign,
        tensors::TensorDesign,
    },
    spec::{Adapt, Lora},
};
use crate::worker::autograd::without_gradients;

pub use self::binder::LoadFault;

/// A network on a device. Its layers and its named state share their tensors: a change in one is a change in the other.
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    outputs: Outputs,
    backbone: Backbone,
    head: Tree,
    state: StateDict,
    tensors: BTreeMap<String, Tag>,
    /// The type that convolutions compute in.
    kind: Kind,
}

/// A tensor's properties besides its values.
#[derive(Clone, Copy, Debug)]
struct Tag {
    /// None for the head.
    stage: Option<Stage>,
    role: Role,
}

/// What training does with a tensor whose stage is not frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Learns,
    /// A running statistic, or what is stored otherwise.
    Follows,
    /// A weight beside which an adapter learns.
    Stays,
}

/// The origin of a network's head in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOrigin {
    /// From the weights: their head is of the same kind and size.
    Weights,
    /// Newly initialised: the weights have none, or another one, for this many classes.
    Drawn { left_out: Option<i64> },
}

/// A trainable tensor.
#[derive(Debug)]
pub struct Parameter {
    pub name: String,
    /// None for the head.
    pub stage: Option<Stage>,
    /// Shares its memory with the network.
    pub tensor: Tensor,
}

impl Network {
    /// A network with random weights.
    pub fn drawn(architecture: Architecture, outputs: impl Into<Outputs>, seed: u64, device: Device) -> Self {
        let outputs = outputs.into();
        let mut tensors = Binder::drawn(seed, device);
        let backbone = Backbone::build(architecture.design(), &mut tensors);
        let head = build_head(architecture, outputs, &mut tensors);
        Self::new(architecture, outputs, backbone, head, tensors.into_drawn())
    }

    /// A network with exactly these weights.
    ///
    /// # Errors
    /// Every tensor that is missing, unexpected or of another shape.
    pub fn loaded(
        architecture: Architecture,
        outputs: impl Into<Outputs>,
        weights: &StateDict,
        device: Device,
    ) -> Result<Self, LoadFault> {
        Self::bound(architecture, outputs.into(), Binder::given(weights, device))
    }

    /// The same network to compare with: it is not to be trained, and shares tensors with the weights where it can.
    ///
    /// # Errors
    /// As [`Network::loaded`].
    pub fn lent(
        architecture: Architecture,
        outputs: impl Into<Outputs>,
        weights: &StateDict,
    ) -> Result<Self, LoadFault> {
        Self::bound(architecture, outputs.into(), Binder::lent(weights, Device::Cpu))
    }

    fn bound(architecture: Architecture, outputs: Outputs, mut tensors: Binder) -> Result<Self, LoadFault> {
        let backbone = Backbone::build(architecture.design(), &mut tensors);
        let head = build_head(architecture, outputs, &mut tensors);
        let state = binder::finish(architecture, [tensors], &[])?;
        Ok(Self::new(architecture, outputs, backbone, head, state))
    }

    /// A network for fine-tuning from these weights. Their head is kept if it is of the same kind, one that learns, and has the same number
    /// of classes; otherwise a new one is initialised.
    ///
    /// # Errors
    /// As [`Network::loaded`], for everything but the head.
    pub fn fine_tuned(
        architecture: Architecture,
        outputs: impl Into<Outputs>,
        weights: &StateDict,
        seed: u64,
        device: Device,
    ) -> Result<(Self, HeadOrigin), LoadFault> {
        let outputs = outputs.into();
        let found = heads::found(weights, architecture);
        if found.as_ref().is_some_and(|found| found.can_be_kept_as(outputs)) {
            let network = Self::loaded(architecture, outputs, weights, device)?;
            return Ok((network, HeadOrigin::Weights));
        }
        let network = Self::headed(architecture, outputs, Binder::given(weights, device), seed)?;
        let left_out = found.map(|found| found.classes);
        Ok((network, HeadOrigin::Drawn { left_out }))
    }

    /// A network for training only a new head on a backbone, whose tensors it shares where it can.
    ///
    /// # Errors
    /// As [`Network::loaded`], for everything but the head.
    pub fn on_lent_backbone(
        architecture: Architecture,
        outputs: impl Into<Outputs>,
        backbone: &StateDict,
        seed: u64,
        device: Device,
    ) -> Result<Self, LoadFault> {
        Self::headed(architecture, outputs.into(), Binder::lent(backbone, device), seed)
    }

    /// A network of given weights with a new head.
    fn headed(
        architecture: Architecture,
        outputs: Outputs,
        mut given: Binder,
        seed: u64,
    ) -> Result<Self, LoadFault> {
        let mut drawn = Binder::drawn(seed, given.device());
        let backbone = Backbone::build(architecture.design(), &mut given);
        let head = build_head(architecture, outputs, &mut drawn);
        let names = heads::names(architecture);
        let left_out: Vec<&str> = names.iter().map(String::as_str).collect();
        let state = binder::finish(architecture, [given, drawn], &left_out)?;
        Ok(Self::new(architecture, outputs, backbone, head, state))
    }

    fn new(
        architecture: Architecture,
        outputs: Outputs,
        backbone: Backbone,
        head: Tree,
        state: StateDict,
    ) -> Self {
        let design = architecture.design();
        let tensors = design
            .tensors_with(outputs.head, outputs.classes as u64)
            .into_iter();
        let tag = |(stage, name, tensor): (_, _, TensorDesign)| {
            let role = if tensor.learns() {
                Role::Learns
            } else {
                Role::Follows
            };
            (name, Tag { stage, role })
        };
        let mut tensors: BTreeMap<String, Tag> = tensors.map(tag).collect();
        for name in state.keys() {
            let Some(weight) = adapters::weight_of(name).and_then(|weight| tensors.get(weight)) else {
                continue;
            };
            let role = if adapters::learns(name) {
                Role::Learns
            } else {
                Role::Follows
            };
            tensors.insert(name.clone(), Tag { role, ..*weight });
        }
        Self {
            architecture,
            outputs,
            backbone,
            head,
            state,
            tensors,
            kind: Kind::Float,
        }
    }

    /// The same network with low-rank changes beside its matrices, which change nothing yet.
    ///
    /// # Errors
    /// None that a network's own weights could cause.
    pub fn with_low_rank(&self, lora: &Lora, seed: u64) -> Result<Self, LoadFault> {
        let state = self.state.iter();
        let mut state: StateDict = state
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        state.extend(low_rank::drawn(self.architecture, lora, seed));
        let network = Self::loaded(self.architecture, self.outputs, &state, self.device())?;
        Ok(network.computing_in(self.kind))
    }

    /// The same network, of whose backbone only the adapter is trained from now on.
    pub fn training_only(mut self, adapt: &Adapt) -> Self {
        let learning = match adapt {
            Adapt::NormOnly => self.architecture.norm_parameters(),
            Adapt::BiasOnly => self.architecture.biases(),
            Adapt::Lora(_) => self
                .state
                .keys()
                .filter(|name| adapters::learns(name))
                .cloned()
                .collect(),
        };
        for (name, tag) in &mut self.tensors {
            if tag.stage.is_some() && tag.role == Role::Learns && !learning.contains(name) {
                tag.role = Role::Stays;
            }
        }
        self
    }

    /// The same network with convolutions that compute in floats of this kind. Its tensors, the head, and the outputs of its stages, remain
    /// 32-bit floats.
    pub fn computing_in(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// The type that convolutions compute in.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where its tensors are.
    pub fn device(&self) -> Device {
        self.state.values().next().map_or(Device::Cpu, Tensor::device)
    }

    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Its head and the number of its classes.
    pub fn outputs(&self) -> Outputs {
        self.outputs
    }

    /// All tensors by torchvision's names, with their current values: they share memory with the network.
    pub fn state(&self) -> &StateDict {
        &self.state
    }

    /// Passes the output of the stage `after` (if none: images `[N, 3, H, W]`, see [`input`]) through the stages up to and including
    /// `last`. The output of the network's last stage is the features: a vector `[N, features]`, or a map where the head gets one
    /// (see [`vectors`]).
    pub fn stages(&self, input: &Tensor, after: Option<Stage>, last: Stage, mode: Mode) -> Tensor {
        self.stages_seen_at(input, (after, last), mode, &[]).0
    }

    /// The same, and the activations at these places in stages that are passed, in their order.
    pub fn stages_seen_at(
        &self,
        input: &Tensor,
        (after, last): (Option<Stage>, Stage),
        mode: Mode,
        places: &[Place],
    ) -> (Tensor, Vec<Tensor>) {
        let mut seen = Vec::new();
        let input = input.to_kind(self.kind);
        let output = self
            .backbone
            .forward(&input, (after, last), mode, &mut |stage, layers, activations| {
                if places.contains(&Place { stage, layers }) {
                    seen.push(activations.to_kind(Kind::Float));
                }
            });
        (output.to_kind(Kind::Float), seen)
    }

    /// Logits `[N, classes]` of features.
    pub fn head(&self, features: &Tensor) -> Tensor {
        self.head.forward(features, Mode::Eval)
    }

    /// Logits `[N, classes]` of images `[N, 3, H, W]`, without gradients and without changing the network.
    pub fn logits(&self, images: &Tensor) -> Tensor {
        without_gradients(|| {
            self.head(&self.stages(images, None, self.architecture.last_stage(), Mode::Eval))
        })
    }

    /// Logits `[N, classes]` of what [`vectors`] makes of features. Heads that get a map take a vector for a map of one position: all but
    /// the published one, which is never made of vectors, begin with the mean.
    pub fn head_of_vectors(&self, vectors: &Tensor) -> Tensor {
        match self.architecture.design().has_map_features() {
            false => self.head(vectors),
            true => self.head(&vectors.unsqueeze(-1).unsqueeze(-1)),
        }
    }

    /// The trainable tensors, in the order of names.
    pub fn parameters(&self) -> Vec<Parameter> {
        let named = self.state.iter().filter(|(name, _)| self.learns(name));
        named
            .map(|(name, tensor)| Parameter {
                name: name.clone(),
                stage: self.stage_of(name),
                tensor: tensor.shallow_clone(),
            })
            .collect()
    }

    /// Whether a tensor is trainable, and not a running statistic.
    pub fn learns(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|tag| tag.role == Role::Learns)
    }

    /// Whether training changes a tensor where these stages are frozen: it learns, or follows what learns.
    pub fn changes(&self, name: &str, frozen: Option<Stage>) -> bool {
        let stays = self.tensors.get(name).is_some_and(|tag| tag.role == Role::Stays);
        !stays && self.is_after(name, frozen)
    }

    /// Whether a tensor belongs to a stage after `frozen`, or to the head.
    pub fn is_after(&self, name: &str, frozen: Option<Stage>) -> bool {
        match (self.stage_of(name), frozen) {
            (Some(stage), Some(frozen)) => stage > frozen,
            (None, _) | (_, None) => true,
        }
    }

    fn stage_of(&self, name: &str) -> Option<Stage> {
        self.tensors.get(name).and_then(|tag| tag.stage)
    }
}

/// The stages, from the images to the feature vector.
#[derive(Debug)]
struct Backbone {
    stages: Vec<(Stage, Vec<Tree>)>,
    pooling: Vec<Tree>,
}

impl Backbone {
    fn build(design: &NetworkDesign, tensors: &mut Binder) -> Self {
        let mut trees = |layers: &[Layer]| Tree::build_all(layers, "", tensors);
        Self {
            stages: design
                .stages
                .iter()
                .map(|(stage, layers)| (*stage, trees(layers)))
                .collect(),
            pooling: trees(&design.pooling),
        }
    }

    /// Passes the output of the stage `after` (images if none) through all stages up to and including `last`. Calls `each` behind each of
    /// their layers, with the number of layers of the stage up to there.
    fn forward(
        &self,
        input: &Tensor,
        (after, last): (Option<Stage>, Stage),
        mode: Mode,
        each: &mut dyn FnMut(Stage, usize, &Tensor),
    ) -> Tensor {
        let wanted = |stage: Stage| after.is_none_or(|after| stage > after) && stage <= last;
        let mut activations = input.shallow_clone();
        for (stage, trees) in self.stages.iter().filter(|(stage, _)| wanted(*stage)) {
            for (layers, tree) in (1..).zip(trees) {
                activations = tree.forward(&activations, mode);
                each(*stage, layers, &activations);
            }
        }
        match self.stages.last() {
            Some((end, _)) if *end == last => sequence(&self.pooling, &activations, mode),
            _ => activations,
        }
    }
}

/// Feature vectors `[N, features]` of features: of a map the means over all positions.
pub fn vectors(features: &Tensor) -> Tensor {
    match features.dim() {
        4 => features.mean_dim([2i64, 3].as_slice(), false, None::<Kind>),
        _ => features.shallow_clone(),
    }
}

/// The layers that map features to logits.
fn build_head(architecture: Architecture, outputs: Outputs, tensors: &mut Binder) -> Tree {
    let head = architecture
        .design()
        .head_of(outputs.head, outputs.classes as u64);
    Tree::build(&head, "", tensors)
}
