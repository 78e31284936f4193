//! Building the layers for inference: which ones are fused, and how a BatchNorm is folded into the convolution before it.

use tch::{Device, Kind, Tensor};

use super::{conv::Conv, tree::Tree};
use crate::{
    domain::architecture::layer::{BatchNorm2d, Conv2d, Layer, Op, joined},
    worker::{
        files::{adapters, state::StateDict},
        nets::{fused::After, layers::channels_last, leaf::Leaf, low_rank::LowRank},
    },
};

/// How layers for inference are to be.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The type that they compute in.
    pub kind: Kind,
    pub device: Device,
    /// Whether layers that compute with a tensor as it is share it with the weights; otherwise they share nothing.
    pub shares: bool,
}

/// Builds layers from the tensors of a network.
pub(super) struct Fold<'a> {
    pub state: &'a StateDict,
    pub form: Form,
}

/// A layer that is no sequence, and its full name.
struct Step<'a> {
    name: String,
    /// For the layers below it, where it is a composition.
    prefix: String,
    op: &'a Op,
}

impl Fold<'_> {
    /// Layers one after another.
    pub fn layers<'b>(&self, layers: impl IntoIterator<Item = &'b Layer>) -> Vec<Tree> {
        let mut steps = Vec::new();
        for layer in layers {
            flatten(layer, "", &mut steps);
        }
        self.steps(&steps)
    }

    fn steps(&self, mut steps: &[Step]) -> Vec<Tree> {
        let mut trees = Vec::new();
        while let Some((step, rest)) = steps.split_first() {
            if let Some((conv, rest)) = self.conv(steps) {
                let (after, rest) = activation(rest);
                trees.push(Tree::Conv(conv, after));
                steps = rest;
            } else if let Some((residual, rest)) = self.residual(step, rest) {
                trees.push(residual);
                steps = rest;
            } else {
                trees.push(self.one(step));
                steps = rest;
            }
        }
        trees
    }

    /// The convolution at the start of the steps with the BatchNorm after it, and the remaining steps.
    fn conv<'s, 'b>(&self, steps: &'s [Step<'b>]) -> Option<(Conv, &'s [Step<'b>])> {
        let (step, rest) = steps.split_first()?;
        let Op::Conv2d(design) = step.op else {
            return None;
        };
        match rest.split_first() {
            Some((
                Step {
                    op: Op::BatchNorm2d(norm),
                    name,
                    ..
                },
                rest,
            )) => Some((self.folded(&step.name, design, Some((name, norm))), rest)),
            _ => Some((self.folded(&step.name, design, None), rest)),
        }
    }

    /// A sum of two branches, the first of which ends with a convolution, with the activation after it, and the remaining steps.
    fn residual<'s, 'b>(&self, step: &Step, rest: &'s [Step<'b>]) -> Option<(Tree, &'s [Step<'b>])> {
        let Op::Sum(branches) = step.op else {
            return None;
        };
        let [branch, shortcut] = branches.as_slice() else {
            return None;
        };
        let [mut branch, shortcut] = [branch, shortcut].map(|layer| {
            let mut steps = Vec::new();
            flatten(layer, &step.prefix, &mut steps);
            self.steps(&steps)
        });
        let Some(Tree::Conv(last, After::Nothing)) =
            branch.pop_if(|tree| matches!(tree, Tree::Conv(_, After::Nothing)))
        else {
            return None;
        };
        let (after, rest) = activation(rest);
        let residual = Tree::Residual {
            branch,
            last,
            shortcut,
            after,
        };
        Some((residual, rest))
    }

    fn one(&self, step: &Step) -> Tree {
        let branches = |layers: &[Layer]| {
            let branch = |layer| {
                let mut steps = Vec::new();
                flatten(layer, &step.prefix, &mut steps);
                self.steps(&steps)
            };
            layers.iter().map(branch).collect()
        };
        match step.op {
            Op::Sum(layers) => Tree::Sum(branches(layers)),
            Op::Concat(layers) => Tree::Concat(branches(layers)),
            Op::Product(layers) => Tree::Product(branches(layers)),
            op => Tree::Leaf(Leaf::new(op, &step.name, |tensor| {
                let name = joined(&step.name, tensor.name);
                let [down, up, scale] = adapters::names(&name).map(|name| self.state.get(&name));
                let low_rank = match (down, up, scale) {
                    (Some(down), Some(up), Some(scale)) => Some(LowRank {
                        down: self.placed(down),
                        up: self.placed(up),
                        scale: self.placed(scale),
                    }),
                    _ => None,
                };
                (self.placed(&self.state[&name]), low_rank)
            })),
        }
    }

    /// They are small, so they stay in 32 bits; each is converted to the type that its layer computes in.
    fn placed(&self, whole: &Tensor) -> Tensor {
        let placed = whole.detach().to_device(self.form.device);
        match self.form.shares {
            true => placed,
            false => placed.copy(),
        }
    }

    /// `y = (conv(x) - mean) / sqrt(var + epsilon) * weight + bias` as one convolution with a bias, in 64-bit floats and then rounded.
    fn folded(&self, name: &str, design: &Conv2d, norm: Option<(&String, &BatchNorm2d)>) -> Conv {
        let tensor = |name: String| self.state[&name].to_kind(Kind::Double);
        let own_bias = design.bias.then(|| tensor(joined(name, "bias")));
        let weight = tensor(joined(name, "weight"));
        let (weight, bias) = match norm {
            Some((norm, BatchNorm2d { epsilon, .. })) => {
                let of_norm = |part: &str| tensor(joined(norm, part));
                let factor = of_norm("weight") / (of_norm("running_var") + *epsilon).sqrt();
                let mean = match own_bias {
                    Some(bias) => of_norm("running_mean") - bias,
                    None => of_norm("running_mean"),
                };
                let bias = of_norm("bias") - mean * &factor;
                (weight * factor.view([-1, 1, 1, 1]), bias)
            }
            None => {
                let device = weight.device();
                let zeros = || Tensor::zeros([design.to as i64], (Kind::Double, device));
                (weight, own_bias.unwrap_or_else(zeros))
            }
        };
        let placed = |tensor: Tensor| tensor.to_kind(self.form.kind).to_device(self.form.device);
        Conv::new(channels_last(&placed(weight)), placed(bias), *design)
    }
}

/// The start of the steps that can be fused with what is before them, and the remaining steps.
fn activation<'s, 'b>(steps: &'s [Step<'b>]) -> (After, &'s [Step<'b>]) {
    match steps.split_first() {
        Some((
            Step {
                op: Op::Activation(activation),
                ..
            },
            rest,
        )) => (After::Activation(*activation), rest),
        _ => (After::Nothing, steps),
    }
}

/// The layers of sequences, and of nested sequences, one after another, without those that do nothing outside of training.
fn flatten<'a>(layer: &'a Layer, prefix: &str, steps: &mut Vec<Step<'a>>) {
    let below = layer.prefix(prefix);
    if let Op::Sequence(layers) = &layer.op {
        layers.iter().for_each(|layer| flatten(layer, &below, steps));
        return;
    }
    if matches!(layer.op, Op::Dropout { .. } | Op::StochasticDepth { .. }) {
        return;
    }
    steps.push(Step {
        name: joined(prefix, &layer.name),
        prefix: below,
        op: &layer.op,
    });
}
