//! The form of a network for training: the layers of its design, each computed as in PyTorch.

use tch::Tensor;

use super::{binder::Binder, layers::Mode, leaf::Leaf};
use crate::domain::architecture::layer::{Layer, Op, joined};

/// A layer and everything below it.
#[derive(Debug)]
pub enum Tree {
    Leaf(Leaf),
    /// A ReLU in place, on an input that nothing else needs.
    ReluInPlace,
    Sequence(Vec<Tree>),
    /// If `over_first`, in place on the output of the first, which nothing else needs.
    Sum {
        trees: Vec<Tree>,
        over_first: bool,
    },
    Concat(Vec<Tree>),
    Product(Vec<Tree>),
}

impl Tree {
    /// The layer with its tensors, which `binder` provides by their full names.
    pub fn build(layer: &Layer, prefix: &str, binder: &mut Binder) -> Self {
        let below = layer.prefix(prefix);
        let mut each = |layers: &[Layer]| -> Vec<Tree> {
            let trees = layers.iter().map(|layer| Tree::build(layer, &below, binder));
            trees.collect()
        };
        match &layer.op {
            Op::Sequence(layers) => Tree::Sequence(Tree::build_all(layers, &below, binder)),
            Op::Sum(layers) => Tree::Sum {
                trees: each(layers),
                over_first: layers.first().is_some_and(Layer::gives_its_own),
            },
            Op::Concat(layers) => Tree::Concat(each(layers)),
            Op::Product(layers) => Tree::Product(each(layers)),
            op => {
                let name = joined(prefix, &layer.name);
                Tree::Leaf(Leaf::new(op, &name, |design| {
                    let name = joined(&name, design.name);
                    (
                        binder.tensor(name.clone(), design),
                        binder.low_rank(&name, design),
                    )
                }))
            }
        }
    }

    /// Layers one after another.
    pub fn build_all(layers: &[Layer], prefix: &str, binder: &mut Binder) -> Vec<Self> {
        let before = std::iter::once(None).chain(layers.iter().map(Some));
        let build = |(layer, before): (&Layer, Option<&Layer>)| {
            if layer.is_relu() && before.is_some_and(Layer::gives_its_own) {
                return Tree::ReluInPlace;
            }
            Tree::build(layer, prefix, binder)
        };
        layers.iter().zip(before).map(build).collect()
    }

    pub fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        let each =
            |trees: &[Tree]| -> Vec<Tensor> { trees.iter().map(|tree| tree.forward(input, mode)).collect() };
        let of_input = || input.shallow_clone();
        match self {
            Tree::Leaf(leaf) => leaf.forward(input, mode),
            Tree::ReluInPlace => of_input().relu_(),
            Tree::Sequence(trees) => sequence(trees, input, mode),
            Tree::Sum { trees, over_first } => {
                let add = |mut sum: Tensor, next: Tensor| match over_first {
                    true => sum.g_add_(&next),
                    false => sum + next,
                };
                each(trees).into_iter().reduce(add).unwrap_or_else(of_input)
            }
            Tree::Concat(trees) => Tensor::cat(&each(trees), 1),
            Tree::Product(trees) => {
                let product = each(trees).into_iter().reduce(|product, next| product * next);
                product.unwrap_or_else(of_input)
            }
        }
    }
}

/// One after another.
pub fn sequence(trees: &[Tree], input: &Tensor, mode: Mode) -> Tensor {
    trees.iter().fold(input.shallow_clone(), |activations, tree| {
        tree.forward(&activations, mode)
    })
}
