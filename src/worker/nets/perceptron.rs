//! A few linear layers with activations between them that belong to no published network: what a training needs beside its network.

use tch::{Device, Kind, Tensor};

use super::{Parameter, aside::Aside, layers::Mode};
use crate::{
    domain::architecture::layer::{Activation, Layer, Linear, Op},
    worker::files::state::StateDict,
};

/// A multilayer perceptron with random weights.
#[derive(Debug)]
pub struct Perceptron(Aside);

/// Where a perceptron normalises its activations over the batch (Ioffe and Szegedy 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norms {
    Nowhere,
    /// Before each activation.
    Hidden,
    /// Also at its end, there without learning a weight and a bias.
    All,
}

impl Perceptron {
    /// Layers of these widths, from the input to the output, with ReLUs between them and tensors whose names begin with `name`. Initialised
    /// as in torch.nn.Linear, as a function of the seed and the names.
    pub fn drawn(name: &str, widths: &[u64], seed: u64, device: Device) -> Self {
        Self::of(name, widths, (Activation::Relu, Norms::Nowhere), seed, device)
    }

    /// The same with other activations, and with norms.
    pub fn of(
        name: &str,
        widths: &[u64],
        (activation, norms): (Activation, Norms),
        seed: u64,
        device: Device,
    ) -> Self {
        let (mut layers, last) = (Vec::new(), widths.len().saturating_sub(1));
        for (number, pair) in (1..).zip(widths.windows(2)) {
            let linear = Op::Linear(Linear::new(pair[0], pair[1]));
            layers.push(Layer::new(format!("linear{number}"), linear));
            if norms == Norms::All || (norms == Norms::Hidden && number < last) {
                layers.push(Layer::batch_norm(format!("norm{number}"), pair[1]));
            }
            if number < last {
                layers.push(Layer::activation(format!("relu{number}"), activation));
            }
        }
        let plain = format!("{name}.norm{last}.");
        let aside = Aside::drawn(&Layer::sequence(name, layers), seed, device);
        Self(aside.without(|name| name.starts_with(&plain)))
    }

    /// `[N, last width]` of `[N, first width]`.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        // Its running statistics are never used.
        self.0
            .forward(&input.to_kind(Kind::Float), Mode::Batch { share: None })
    }

    /// All tensors by name; they share memory with the layers.
    pub fn state(&self) -> &StateDict {
        self.0.state()
    }

    /// What learns, at the rate of the head.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.0.parameters()
    }

    /// Restores the result of [`Perceptron::state`].
    ///
    /// # Errors
    /// The name of a tensor that is missing or of another shape.
    pub fn restore(&self, saved: &StateDict) -> Result<(), String> {
        self.0.restore(saved)
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

    #[test]
    fn norms_are_over_the_batch_and_the_last_one_learns_nothing() {
        let make = |norms| Perceptron::of("p", &[3, 8, 4], (Activation::Relu, norms), 1, Device::Cpu);
        let input = Tensor::arange(15, (Kind::Float, Device::Cpu)).sin().view([5, 3]) * 7.0;
        let output = make(Norms::All).forward(&input);
        let axis: &[i64] = &[0];
        let mean = output
            .mean_dim(axis, false, Kind::Float)
            .abs()
            .max()
            .double_value(&[]);
        let variance = output.var_dim(axis, false, false);
        assert!(mean < 1e-5, "{mean:e}");
        assert!((variance - 1.0).abs().max().double_value(&[]) < 1e-2);
        let names = |norms| -> Vec<String> {
            let parameters = make(norms).parameters();
            parameters.into_iter().map(|parameter| parameter.name).collect()
        };
        let linears = [
            "p.linear1.bias",
            "p.linear1.weight",
            "p.linear2.bias",
            "p.linear2.weight",
        ];
        assert_eq!(names(Norms::Nowhere), linears);
        let hidden = [&linears[..], &["p.norm1.bias", "p.norm1.weight"]].concat();
        assert_eq!(names(Norms::Hidden), hidden);
        assert_eq!(names(Norms::All), hidden);
    }
}
