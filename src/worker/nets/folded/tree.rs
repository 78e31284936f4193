//! Layers for inference: as in the design, but with each BatchNorm folded into the convolution before it, and ReLUs and sums fused with
//! what they follow.

use tch::Tensor;

use super::conv::Conv;
use super::conv::Size;
use crate::{
    domain::architecture::{layer::Op, shape::Shape},
    worker::nets::{
        fused::After,
        layers::{self, Mode},
        leaf::Leaf,
    },
};

/// A layer, or several that are fused.
#[derive(Debug)]
pub(super) enum Tree {
    Conv(Conv, After),
    /// `after(last(branch(input)) + shortcut(input))`
    Residual {
        branch: Vec<Tree>,
        last: Conv,
        shortcut: Vec<Tree>,
        after: After,
    },
    Leaf(Leaf),
    /// Branches, each a sequence of layers, and how their outputs are combined.
    Sum(Vec<Vec<Tree>>),
    Concat(Vec<Vec<Tree>>),
    Product(Vec<Vec<Tree>>),
}

/// Activations, and whether they may be overwritten because nothing else needs them.
pub(super) struct Activations {
    pub tensor: Tensor,
    pub own: bool,
}

/// One after another.
pub(super) fn sequence(trees: &[Tree], input: Activations) -> Activations {
    trees.iter().fold(input, |carried, tree| tree.forward(carried))
}

/// See [`Tree::packed_for`].
pub(super) fn packed(trees: &[Tree], mut size: Size) -> (Vec<Tree>, Size) {
    let mut all = Vec::with_capacity(trees.len());
    for tree in trees {
        let (packed, after) = tree.packed_for(size);
        all.push(packed);
        size = after;
    }
    (all, size)
}

/// The same layers with what `conv` makes of each convolution; other tensors are shared.
pub(super) fn with(trees: &[Tree], conv: fn(&Conv) -> Conv) -> Vec<Tree> {
    trees.iter().map(|tree| tree.with(conv)).collect()
}

impl Tree {
    fn forward(&self, input: Activations) -> Activations {
        let own = |tensor| Activations { tensor, own: true };
        match self {
            Tree::Conv(conv, after) => own(conv.then(&input.tensor, *after)),
            Tree::Residual {
                branch,
                last,
                shortcut,
                after,
            } => own(residual(branch, (last, *after), shortcut, input)),
            Tree::Leaf(leaf) => {
                if let (Op::Activation(activation), true) = (leaf.op(), input.own) {
                    return own(After::Activation(*activation).in_place(input.tensor));
                }
                let tensor = leaf.forward(&input.tensor, Mode::Eval);
                // A view of the input shares its memory.
                let is_part = matches!(leaf.op(), Op::Narrow { .. });
                let own = input.own || !is_part && tensor.data_ptr() != input.tensor.data_ptr();
                Activations { tensor, own }
            }
            Tree::Sum(branches) => joined(
                branches,
                input,
                |mut sum, next| sum.g_add_(next),
                |sum, next| sum + next,
            ),
            Tree::Product(branches) => joined(
                branches,
                input,
                |mut product, next| product.g_mul_(next),
                |product, next| product * next,
            ),
            Tree::Concat(branches) => {
                let outputs = each(branches, &input.tensor);
                let outputs: Vec<&Tensor> = outputs.iter().map(|output| &output.tensor).collect();
                own(Tensor::cat(&outputs, 1))
            }
        }
    }

    /// The same in the form that is fastest on a CPU with 32-bit floats of this size, and the size of the output. What two forms of one
    /// convolution have in common is in memory once.
    pub fn packed_for(&self, size: Size) -> (Self, Size) {
        let (count, shape) = size;
        let all = |branches: &[Vec<Tree>]| -> (Vec<Vec<Tree>>, Vec<Shape>) {
            let packed = branches.iter().map(|branch| packed(branch, size));
            packed.map(|(trees, (_, shape))| (trees, shape)).unzip()
        };
        match self {
            Tree::Conv(conv, after) => {
                let (conv, shape) = conv.packed_for(size);
                (Tree::Conv(conv, *after), (count, shape))
            }
            Tree::Residual {
                branch,
                last,
                shortcut,
                after,
            } => {
                let (branch, inner) = packed(branch, size);
                let (last, shape) = last.packed_for(inner);
                let (shortcut, _) = packed(shortcut, size);
                let residual = Tree::Residual {
                    branch,
                    last,
                    shortcut,
                    after: *after,
                };
                (residual, (count, shape))
            }
            Tree::Leaf(leaf) => (Tree::Leaf(leaf.share()), (count, leaf.op().output(shape))),
            Tree::Sum(branches) => {
                let (branches, shapes) = all(branches);
                (Tree::Sum(branches), (count, Shape::largest(shape, &shapes)))
            }
            Tree::Product(branches) => {
                let (branches, shapes) = all(branches);
                (Tree::Product(branches), (count, Shape::largest(shape, &shapes)))
            }
            Tree::Concat(branches) => {
                let (branches, shapes) = all(branches);
                (Tree::Concat(branches), (count, Shape::stacked(shape, &shapes)))
            }
        }
    }

    fn with(&self, make: fn(&Conv) -> Conv) -> Self {
        let all = |branches: &[Vec<Tree>]| branches.iter().map(|branch| with(branch, make)).collect();
        match self {
            Tree::Conv(conv, after) => Tree::Conv(make(conv), *after),
            Tree::Residual {
                branch,
                last,
                shortcut,
                after,
            } => Tree::Residual {
                branch: with(branch, make),
                last: make(last),
                shortcut: with(shortcut, make),
                after: *after,
            },
            Tree::Leaf(leaf) => Tree::Leaf(leaf.share()),
            Tree::Sum(branches) => Tree::Sum(all(branches)),
            Tree::Concat(branches) => Tree::Concat(all(branches)),
            Tree::Product(branches) => Tree::Product(all(branches)),
        }
    }

    /// Bytes of its own tensors, and of those that it shares with its other packed forms.
    pub fn bytes(&self) -> (u64, u64) {
        match self {
            Tree::Conv(conv, _) => conv.bytes(),
            Tree::Residual {
                branch,
                last,
                shortcut,
                ..
            } => total(
                branch
                    .iter()
                    .chain(shortcut)
                    .map(Tree::bytes)
                    .chain([last.bytes()]),
            ),
            Tree::Leaf(leaf) => (0, leaf.numbers() * size_of::<f32>() as u64),
            Tree::Sum(branches) | Tree::Concat(branches) | Tree::Product(branches) => {
                total(branches.iter().flatten().map(Tree::bytes))
            }
        }
    }

    /// See [`super::FoldedStages::bytes_of`].
    pub fn bytes_of(&self, is_meant: &dyn Fn(&Tensor) -> bool) -> u64 {
        let all = |trees: &[Tree]| -> u64 { trees.iter().map(|tree| tree.bytes_of(is_meant)).sum() };
        match self {
            Tree::Conv(..) => 0,
            Tree::Residual { branch, shortcut, .. } => all(branch) + all(shortcut),
            Tree::Leaf(leaf) => {
                let tensors = leaf.tensors().iter().filter(|tensor| is_meant(tensor));
                let numbers: u64 = tensors.map(|tensor| tensor.numel() as u64).sum();
                numbers * size_of::<f32>() as u64
            }
            Tree::Sum(branches) | Tree::Concat(branches) | Tree::Product(branches) => {
                branches.iter().map(|branch| all(branch)).sum()
            }
        }
    }
}

pub(super) fn total(all: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    all.fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
}

fn residual(branch: &[Tree], (last, after): (&Conv, After), shortcut: &[Tree], input: Activations) -> Tensor {
    let shared = |tensor: &Tensor| Activations {
        tensor: tensor.shallow_clone(),
        own: false,
    };
    let activations = sequence(branch, shared(&input.tensor)).tensor;
    match shortcut.last() {
        // Not what the convolution is still reading.
        None if input.own && activations.data_ptr() != input.tensor.data_ptr() => {
            last.forward_sum(&activations, &input.tensor, after)
        }
        None => last.forward_sum(&activations, &layers::channels_last(&input.tensor), after),
        Some(Tree::Conv(..)) => {
            let shortcut = sequence(shortcut, shared(&input.tensor)).tensor;
            last.forward_sum(&activations, &shortcut, after)
        }
        Some(_) => {
            let shortcut = sequence(shortcut, shared(&input.tensor)).tensor;
            after.in_place(last.then(&activations, After::Nothing).g_add_(&shortcut))
        }
    }
}

fn each(branches: &[Vec<Tree>], input: &Tensor) -> Vec<Activations> {
    let branch = |branch: &Vec<Tree>| {
        let tensor = input.shallow_clone();
        sequence(branch, Activations { tensor, own: false })
    };
    branches.iter().map(branch).collect()
}

/// The outputs of the branches, two at a time: `in_place` where the first is nobody else's and is as large as the result.
fn joined(
    branches: &[Vec<Tree>],
    input: Activations,
    in_place: impl Fn(Tensor, &Tensor) -> Tensor,
    two: impl Fn(&Tensor, &Tensor) -> Tensor,
) -> Activations {
    let is_own = input.own;
    let mut outputs = each(branches, &input.tensor);
    // The last branch may have the input itself, once all others are computed.
    if is_own && let Some(first) = outputs.iter_mut().find(|output| shares(output, &input)) {
        first.own = true;
    }
    let sum = outputs.into_iter().reduce(|first, next| {
        let fits = first.own && first.tensor.numel() >= next.tensor.numel();
        let tensor = match fits {
            true => in_place(first.tensor, &next.tensor),
            false => two(&first.tensor, &next.tensor),
        };
        Activations { tensor, own: true }
    });
    sum.unwrap_or(input)
}

fn shares(output: &Activations, input: &Activations) -> bool {
    output.tensor.data_ptr() == input.tensor.data_ptr() && output.tensor.size() == input.tensor.size()
}
