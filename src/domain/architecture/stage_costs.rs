//! What each stage of a network costs for one image: arithmetic, and memory while it learns.

use super::{
    Architecture, Stage,
    layer::{Activation, Layer, Op},
    shape::Shape,
};

/// What a stage costs for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageCost {
    pub stage: Stage,
    /// As [`Architecture::multiply_adds`].
    pub multiply_adds: u64,
    /// Numbers that a training step keeps of the forward pass for the backward pass.
    pub kept: u64,
    /// The most numbers that a layer takes and gives.
    pub largest: u64,
}

impl Architecture {
    /// Of every stage, for an image of `side × side` pixels. What follows the last stage up to the feature vector is part of it.
    pub fn stage_costs(self, side: u32) -> Vec<StageCost> {
        let design = self.design();
        let mut shape = Shape::image(side.into());
        let last = design.last_stage();
        let mut costs = Vec::new();
        for (stage, layers) in &design.stages {
            let mut cost = StageCost {
                stage: *stage,
                multiply_adds: 0,
                kept: 0,
                largest: 0,
            };
            let rest = design.pooling.iter().filter(|_| *stage == last);
            for layer in layers.iter().chain(rest) {
                shape = layer.follow("", shape, &mut |layer: &Layer, _, input| {
                    cost.add(&layer.op, input)
                });
            }
            costs.push(cost);
        }
        costs
    }
}

impl StageCost {
    fn add(&mut self, op: &Op, input: Shape) {
        self.multiply_adds += op.multiply_adds(input);
        self.kept += kept(op) * numbers(input);
        self.largest = self.largest.max(numbers(input) + numbers(op.output(input)));
    }
}

fn numbers(shape: Shape) -> u64 {
    shape.channels() * shape.places()
}

/// How many times its input a layer keeps. A ReLU keeps its output, which is the next layer's input.
fn kept(op: &Op) -> u64 {
    match op {
        Op::Attention(_) | Op::WindowAttention(_) => 5,
        Op::Conv2d(_)
        | Op::BatchNorm2d(_)
        | Op::LayerNorm(_)
        | Op::Linear(_)
        | Op::LayerScale(_)
        | Op::MaxPool2d(_) => 1,
        Op::Activation(Activation::Relu | Activation::Relu6) => 0,
        Op::Activation(_) => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_add_up_to_the_network() {
        for architecture in Architecture::ALL {
            let side = architecture.native_size();
            let sum: u64 = architecture
                .stage_costs(side)
                .iter()
                .map(|cost| cost.multiply_adds)
                .sum();
            let head = architecture.features() * 10;
            let all = architecture.multiply_adds(10, side);
            // A head that is a convolution is computed at every position.
            assert!(
                sum < all && (sum + head == all || all - sum > head),
                "{architecture}"
            );
        }
    }
}
