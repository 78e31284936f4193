//! The auxiliary heads of a network in training: what they make of its activations counts in the loss, and teaches the layers before them.

use tch::{Device, Tensor};

use crate::{
    domain::{
        architecture::{
            Stage,
            auxiliary::{AuxiliaryHead, Place},
        },
        spec::JobSpec,
    },
    worker::{
        files::state::StateDict,
        nets::{Network, Parameter, aside::Aside, dropout::DropoutKey, layers::Mode},
    },
};

/// All of a network, from the input on.
pub struct AuxiliaryHeads {
    heads: Vec<(AuxiliaryHead, Aside)>,
    /// Of the loss of each, beside that of the head.
    pub weight: f64,
}

impl AuxiliaryHeads {
    /// With random weights; none where the job wants none.
    pub fn of(spec: &JobSpec, network: &Network) -> Option<Self> {
        let weight = spec.loss.auxiliary_weight?;
        let classes = network.outputs().classes as u64;
        let heads = network.architecture().auxiliary_heads(classes);
        Some(Self::drawn(heads, weight, spec.seed, network.device()))
    }

    fn drawn(heads: Vec<AuxiliaryHead>, weight: f64, seed: u64, device: Device) -> Self {
        let drawn = |head: AuxiliaryHead| {
            let layers = Aside::drawn(&head.layer, seed, device);
            (head, layers)
        };
        Self {
            heads: heads.into_iter().map(drawn).collect(),
            weight,
        }
    }

    /// Takes over those of given weights that have all of a head, but for the layer that gives the logits, which is for other classes.
    /// Returns what was done, for the log.
    pub fn begin_with(&self, given: &StateDict) -> String {
        let mut kept = Vec::new();
        for (head, layers) in &self.heads {
            let (output, mut state) = (format!("{}.", head.output()), StateDict::new());
            for (name, own) in layers.state() {
                let given = given.get(name).filter(|_| !name.starts_with(&output));
                state.insert(name.clone(), given.unwrap_or(own).shallow_clone());
            }
            let has_all = layers
                .state()
                .keys()
                .all(|name| name.starts_with(&output) || given.contains_key(name));
            if has_all && layers.restore(&state).is_ok() {
                kept.push(head.layer.name.as_str());
            }
        }
        let names: Vec<&str> = self
            .heads
            .iter()
            .map(|(head, _)| head.layer.name.as_str())
            .collect();
        let names = names.join(", ");
        match kept.len() {
            0 => format!("auxiliary heads ({names}) learn from the labels, too; they are newly initialised"),
            _ => format!(
                "auxiliary heads ({names}) learn from the labels, too; the weights have {}, of which only the last layer is newly initialised",
                kept.join(", ")
            ),
        }
    }

    /// Where those begin that take part while these stages are frozen.
    pub fn places(&self, frozen: Option<Stage>) -> Vec<Place> {
        self.active(frozen).map(|(head, _)| head.begins).collect()
    }

    /// What learns while these stages are frozen.
    pub fn parameters(&self, frozen: Option<Stage>) -> Vec<Parameter> {
        let active = self.active(frozen);
        active.flat_map(|(_, layers)| layers.parameters()).collect()
    }

    /// The logits `[N, classes]` of each, given the activations at [`AuxiliaryHeads::places`].
    pub fn logits(&self, seen: &[Tensor], frozen: Option<Stage>, key: DropoutKey) -> Vec<Tensor> {
        let active = self.active(frozen).zip(seen);
        active
            .map(|((_, layers), seen)| layers.forward(seen, Mode::Train(key)))
            .collect()
    }

    /// What a checkpoint has of them.
    pub fn state(&self) -> impl Iterator<Item = (String, Tensor)> {
        let state = self.heads.iter().flat_map(|(_, layers)| layers.state());
        state.map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
    }

    /// Restores the result of [`AuxiliaryHeads::state`].
    ///
    /// # Errors
    /// The name of a tensor that is missing or of another shape.
    pub fn restore(&self, saved: &StateDict) -> Result<(), String> {
        self.heads
            .iter()
            .try_for_each(|(_, layers)| layers.restore(saved))
    }

    /// A head behind frozen layers has nobody to teach.
    fn active(&self, frozen: Option<Stage>) -> impl Iterator<Item = &(AuxiliaryHead, Aside)> {
        self.heads
            .iter()
            .filter(move |(head, _)| frozen.is_none_or(|frozen| head.begins.stage > frozen))
    }
}
