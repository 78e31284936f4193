//! Residual networks as their [`Design`] says, with torchvision's names for every tensor, stage by stage.
//!
//! Activations between stages are `[N, C, H, W]`; the last stage ends with the pooling over H and W, so that what leaves it is the
//! feature vector `[N, features]` that the head sees.

use tch::Tensor;

use super::{
    binder::Binder,
    initialise::Init,
    layers::{self, BatchNorm, Conv, Mode},
};
use crate::domain::architecture::{
    Stage,
    design::{self, Convolution, Design},
};

/// The stages, from the pictures to the feature vector.
#[derive(Debug)]
pub struct ResNet {
    stem: ConvNorm,
    pooling: bool,
    stages: Vec<(Stage, Vec<Block>)>,
}

impl ResNet {
    pub fn build(design: &Design, tensors: &mut Binder) -> Self {
        let stem = design.stem();
        Self {
            stem: ConvNorm::build(tensors, "", ["conv1", "bn1"], &stem.convolution),
            pooling: stem.pooling,
            stages: design
                .blocks()
                .into_iter()
                .map(|(stage, blocks)| (stage, build_stage(stage, &blocks, tensors)))
                .collect(),
        }
    }

    /// Carries what left the stage `after` (pictures where it is none) through all stages up to and with `last`.
    pub fn forward(&self, input: &Tensor, after: Option<Stage>, last: Stage, mode: Mode) -> Tensor {
        let mut activations = input.shallow_clone();
        if after.is_none() {
            activations = self.stem.forward(&activations, mode).relu_();
            if self.pooling {
                activations = activations.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
            }
        }
        let wanted = |stage: Stage| after.is_none_or(|after| stage > after) && stage <= last;
        for (stage, blocks) in self.stages.iter().filter(|(stage, _)| wanted(*stage)) {
            for block in blocks {
                activations = block.forward(&activations, mode);
            }
            if *stage == self.last_stage() {
                activations = layers::pooled(&activations);
            }
        }
        activations
    }

    fn last_stage(&self) -> Stage {
        self.stages.last().map_or(Stage::Stem, |(stage, _)| *stage)
    }
}

/// The part of a tensor's name that tells which stage it belongs to; none for the head's.
pub fn stage_of(name: &str) -> Option<Stage> {
    let first = name.split('.').next().unwrap_or(name);
    match first {
        "conv1" | "bn1" => Some(Stage::Stem),
        _ => Stage::ALL.into_iter().find(|stage| stage.as_str() == first),
    }
}

fn build_stage(stage: Stage, blocks: &[design::Block], tensors: &mut Binder) -> Vec<Block> {
    let named = blocks.iter().enumerate();
    named
        .map(|(index, block)| Block::build(block, &format!("{}.{index}.", stage.as_str()), tensors))
        .collect()
}

/// A residual block: a branch of convolutions whose result is added to the input, which passes through the shortcut.
#[derive(Debug)]
struct Block {
    branch: Vec<ConvNorm>,
    shortcut: Shortcut,
}

#[derive(Debug)]
enum Shortcut {
    Identity,
    Projection(ConvNorm),
    Padded { stride: i64, channels: i64 },
}

impl Block {
    fn build(design: &design::Block, prefix: &str, tensors: &mut Binder) -> Self {
        let mut branch = Vec::with_capacity(design.branch.len());
        for (number, convolution) in (1..).zip(&design.branch) {
            let (conv, norm) = (format!("conv{number}"), format!("bn{number}"));
            branch.push(ConvNorm::build(tensors, prefix, [&conv, &norm], convolution));
        }
        let shortcut = match &design.shortcut {
            design::Shortcut::Identity => Shortcut::Identity,
            design::Shortcut::Projection(convolution) => {
                let names = ["downsample.0", "downsample.1"];
                Shortcut::Projection(ConvNorm::build(tensors, prefix, names, convolution))
            }
            design::Shortcut::Padded { stride, channels } => Shortcut::Padded {
                stride: *stride as i64,
                channels: *channels as i64,
            },
        };
        Self { branch, shortcut }
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        let mut activations = input.shallow_clone();
        for (index, layer) in self.branch.iter().enumerate() {
            activations = layer.forward(&activations, mode);
            if index + 1 < self.branch.len() {
                activations = activations.relu_();
            }
        }
        let shortcut = match &self.shortcut {
            Shortcut::Identity => input.shallow_clone(),
            Shortcut::Projection(projection) => projection.forward(input, mode),
            Shortcut::Padded { stride, channels } => padded(input, *stride, *channels),
        };
        activations.g_add_(&shortcut).relu_()
    }
}

/// Every `stride`-th pixel of both directions, `channels` of zeros before and as many after (He et al. 2015, option A).
fn padded(input: &Tensor, stride: i64, channels: i64) -> Tensor {
    let fewer = input.slice(2, None, None, stride).slice(3, None, None, stride);
    fewer.constant_pad_nd([0, 0, 0, 0, channels, channels])
}

/// A convolution and the normalisation after it.
#[derive(Debug)]
struct ConvNorm {
    conv: Conv,
    norm: BatchNorm,
}

impl ConvNorm {
    fn build(tensors: &mut Binder, prefix: &str, [conv, norm]: [&str; 2], design: &Convolution) -> Self {
        let [from, to, side, stride, groups] =
            [design.from, design.to, design.side, design.stride, design.groups].map(|size| size as i64);
        let init = Init::kaiming_fan_out(to, side);
        let conv = Conv {
            weight: tensors.floats(
                format!("{prefix}{conv}.weight"),
                &[to, from / groups, side, side],
                init,
            ),
            stride,
            padding: side / 2,
            groups,
        };
        let mut vector = |part: &str, init| tensors.floats(format!("{prefix}{norm}.{part}"), &[to], init);
        let weight = vector("weight", Init::Ones);
        let bias = vector("bias", Init::Zeros);
        let running_mean = vector("running_mean", Init::Zeros);
        let running_var = vector("running_var", Init::Ones);
        let num_batches_tracked = tensors.counter(format!("{prefix}{norm}.num_batches_tracked"));
        let norm = BatchNorm {
            weight,
            bias,
            running_mean,
            running_var,
            num_batches_tracked,
        };
        Self { conv, norm }
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        self.norm.forward(&self.conv.forward(input, mode), mode)
    }
}
