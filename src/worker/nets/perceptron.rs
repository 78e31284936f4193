//! A few linear layers with ReLUs between them that belong to no published network: what a training needs beside its network.

use tch::{Device, Kind, Tensor};

use super::{Parameter, binder::Binder, layers::Mode, tree::Tree};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::architecture::layer::{Activation, Layer, Linear, Op},
    worker::files::state::StateDict,
};

/// A multilayer perceptron with random weights. Its layers and its state share their tensors.
#[derive(Debug)]
pub struct Perceptron {
    tree: Tree,
    state: StateDict,
}

impl Perceptron {
    /// Layers of these widths, from the input to the output, with tensors whose names begin with `name`. Initialised as in
    /// torch.nn.Linear, as a function of the seed and the names.
    pub fn drawn(name: &str, widths: &[u64], seed: u64, device: Device) -> Self {
        let mut layers = Vec::new();
        for (number, pair) in widths.windows(2).enumerate() {
            if number > 0 {
                layers.push(Layer::activation(format!("relu{number}"), Activation::Relu));
            }
            let linear = Op::Linear(Linear::new(pair[0], pair[1]));
            layers.push(Layer::new(format!("linear{}", number + 1), linear));
        }
        let mut binder = Binder::drawn(seed, device);
        let tree = Tree::build(&Layer::sequence(name, layers), "", &mut binder);
        Self {
            tree,
            state: binder.into_drawn(),
        }
    }

    /// `[N, last width]` of `[N, first width]`.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        self.tree.forward(&input.to_kind(Kind::Float), Mode::Eval)
    }

    /// All tensors by name; they share memory with the layers.
    pub fn state(&self) -> &StateDict {
        &self.state
    }

    /// All of them learn, at the rate of the head.
    pub fn parameters(&self) -> Vec<Parameter> {
        let parameter = |(name, tensor): (&String, &Tensor)| Parameter {
            name: name.clone(),
            stage: None,
            tensor: tensor.shallow_clone(),
        };
        self.state.iter().map(parameter).collect()
    }

    /// Restores the result of [`Perceptron::state`].
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_drawn_by_its_seed_and_restored_by_name() {
        let drawn = |seed| Perceptron::drawn("critic", &[6, 5, 1], seed, Device::Cpu);
        let input = Tensor::from_slice(&[0.5f32, -1.0, 2.0, 0.0, 1.0, -0.5]).view([1, 6]);
        let [first, again, other] = [drawn(1), drawn(1), drawn(2)];
        assert_eq!(first.forward(&input).size(), [1, 1]);
        assert!(first.forward(&input).equal(&again.forward(&input)));
        assert!(!first.forward(&input).equal(&other.forward(&input)));
        let names: Vec<_> = first.state().keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "critic.linear1.bias",
                "critic.linear1.weight",
                "critic.linear2.bias",
                "critic.linear2.weight"
            ]
        );
        other.restore(first.state()).unwrap();
        assert!(first.forward(&input).equal(&other.forward(&input)));
        let narrow = Perceptron::drawn("critic", &[6, 4, 1], 1, Device::Cpu);
        assert_eq!(narrow.restore(first.state()).unwrap_err(), "critic.linear1.bias");
    }
}
