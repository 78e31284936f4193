//! Layers that a training needs beside its network, which no answer needs: they are in checkpoints and in no model.

use std::collections::BTreeSet;

use tch::{Device, Tensor};

use super::{Parameter, binder::Binder, layers::Mode, tree::Tree};
use crate::{
    domain::architecture::layer::Layer,
    worker::{autograd::without_gradients, files::state::StateDict},
};

/// Such layers. They and their state share their tensors.
#[derive(Debug)]
pub struct Aside {
    tree: Tree,
    state: StateDict,
    learning: BTreeSet<String>,
}

impl Aside {
    /// With random weights, a function of the seed and their names.
    pub fn drawn(layer: &Layer, seed: u64, device: Device) -> Self {
        let mut learning = BTreeSet::new();
        layer.each_tensor("", &mut |name, tensor| {
            if tensor.learns() {
                learning.insert(name);
            }
        });
        let mut binder = Binder::drawn(seed, device);
        Self {
            tree: Tree::build(layer, "", &mut binder),
            state: binder.into_drawn(),
            learning,
        }
    }

    /// The same, of which tensors with these names do not learn.
    pub fn without(mut self, stays: impl Fn(&str) -> bool) -> Self {
        self.learning.retain(|name| !stays(name));
        self
    }

    pub fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        self.tree.forward(input, mode)
    }

    /// All tensors by name; they share memory with the layers.
    pub fn state(&self) -> &StateDict {
        &self.state
    }

    /// What learns, at the rate of the head.
    pub fn parameters(&self) -> Vec<Parameter> {
        let parameter = |(name, tensor): (&String, &Tensor)| Parameter {
            name: name.clone(),
            stage: None,
            tensor: tensor.shallow_clone(),
        };
        let state = self.state.iter();
        let learning = state.filter(|(name, _)| self.learning.contains(*name));
        learning.map(parameter).collect()
    }

    /// Restores the result of [`Aside::state`].
    ///
    /// # Errors
    /// The name of a tensor that is missing or of another shape.
    pub fn restore(&self, saved: &StateDict) -> Result<(), String> {
        for (name, own) in &self.state {
            match saved.get(name).filter(|saved| saved.size() == own.size()) {
                Some(saved) => without_gradients(|| own.shallow_clone().copy_(saved)),
                None => return Err(name.clone()),
            }
        }
        Ok(())
    }
}
