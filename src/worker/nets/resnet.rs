//! Residual networks as their [`Design`] says, with torchvision's names for every tensor, stage by stage.
//!
//! Activations between stages are `[N, C, H, W]`; the last stage ends with the pooling over H and W, so that what leaves it is the
//! feature vector `[N, features]` that the head sees.

use tch::Tensor;

use super::{
    binder::Binder,
    design::{BlockKind, Design, StageDesign},
    initialise::Init,
    layers::{BatchNorm, Conv, Linear, Mode},
};
use crate::domain::spec::Stage;

/// The stages, from the pictures to the feature vector.
#[derive(Debug)]
pub struct ResNet {
    stem: ConvNorm,
    stages: Vec<(Stage, Vec<Block>)>,
}

impl ResNet {
    pub fn build(design: &Design, tensors: &mut Binder) -> Self {
        let stem = ConvNorm::build(
            tensors,
            "",
            "conv1",
            "bn1",
            [3, design.stem_width],
            Kernel::strided(7, 2),
        );
        let mut channels = design.stem_width;
        let mut stages = Vec::new();
        for stage in &design.stages {
            stages.push((stage.stage, build_stage(design, stage, &mut channels, tensors)));
        }
        Self { stem, stages }
    }

    /// Carries what left the stage `after` (pictures where it is none) through all stages up to and with `last`.
    pub fn forward(&self, input: &Tensor, after: Option<Stage>, last: Stage, mode: Mode) -> Tensor {
        let mut activations = input.shallow_clone();
        if after.is_none() {
            activations = self.stem.forward(&activations, mode).relu_();
            activations = activations.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        }
        let wanted = |stage: Stage| after.is_none_or(|after| stage > after) && stage <= last;
        for (stage, blocks) in self.stages.iter().filter(|(stage, _)| wanted(*stage)) {
            for block in blocks {
                activations = block.forward(&activations, mode);
            }
            if *stage == self.last_stage() {
                activations = activations.adaptive_avg_pool2d([1, 1]).flatten(1, -1);
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

/// Name of the head's layer.
pub const HEAD: &str = "fc";

/// The layer that makes logits of features.
pub fn build_head(features: i64, classes: i64, tensors: &mut Binder) -> Linear {
    let init = Init::linear(features);
    Linear {
        weight: tensors.floats(format!("{HEAD}.weight"), &[classes, features], init),
        bias: tensors.floats(format!("{HEAD}.bias"), &[classes], init),
    }
}

fn build_stage(design: &Design, stage: &StageDesign, channels: &mut i64, tensors: &mut Binder) -> Vec<Block> {
    let mut blocks = Vec::with_capacity(stage.blocks);
    for index in 0..stage.blocks {
        let prefix = format!("{}.{index}.", stage.stage.as_str());
        let stride = if index == 0 { stage.stride } else { 1 };
        let sides = [*channels, stage.width * design.block.expansion()];
        blocks.push(Block::build(design, &prefix, sides, stage.width, stride, tensors));
        *channels = sides[1];
    }
    blocks
}

/// A residual block: a branch of convolutions whose result is added to the input, which passes through `downsample` where the shapes
/// differ.
#[derive(Debug)]
struct Block {
    branch: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl Block {
    fn build(
        design: &Design,
        prefix: &str,
        [from, to]: [i64; 2],
        width: i64,
        stride: i64,
        tensors: &mut Binder,
    ) -> Self {
        let inner = design.inner_width(width);
        // Stride 2 is in the 3×3 convolution (ResNet "V1.5", as in torchvision), not in the first 1×1 of the paper.
        let layers = match design.block {
            BlockKind::Basic => vec![
                ([from, inner], Kernel::strided(3, stride)),
                ([inner, to], Kernel::strided(3, 1)),
            ],
            BlockKind::Bottleneck => vec![
                ([from, inner], Kernel::strided(1, 1)),
                ([inner, inner], Kernel::strided(3, stride).grouped(design.groups)),
                ([inner, to], Kernel::strided(1, 1)),
            ],
        };
        let mut branch = Vec::with_capacity(layers.len());
        for (index, (sides, kernel)) in layers.into_iter().enumerate() {
            let (conv, norm) = (format!("conv{}", index + 1), format!("bn{}", index + 1));
            branch.push(ConvNorm::build(tensors, prefix, &conv, &norm, sides, kernel));
        }
        let downsample = (stride != 1 || from != to).then(|| {
            let kernel = Kernel::strided(1, stride);
            ConvNorm::build(
                tensors,
                prefix,
                "downsample.0",
                "downsample.1",
                [from, to],
                kernel,
            )
        });
        Self { branch, downsample }
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        let mut activations = input.shallow_clone();
        for (index, layer) in self.branch.iter().enumerate() {
            activations = layer.forward(&activations, mode);
            if index + 1 < self.branch.len() {
                activations = activations.relu_();
            }
        }
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(input, mode),
            None => input.shallow_clone(),
        };
        activations.g_add_(&shortcut).relu_()
    }
}

/// Side, stride and groups of a convolution; padded so that stride 1 keeps the size.
#[derive(Clone, Copy)]
struct Kernel {
    side: i64,
    stride: i64,
    groups: i64,
}

impl Kernel {
    fn strided(side: i64, stride: i64) -> Self {
        let groups = 1;
        Self { side, stride, groups }
    }

    fn grouped(self, groups: i64) -> Self {
        Self { groups, ..self }
    }
}

/// A convolution and the normalisation after it.
#[derive(Debug)]
struct ConvNorm {
    conv: Conv,
    norm: BatchNorm,
}

impl ConvNorm {
    fn build(
        tensors: &mut Binder,
        prefix: &str,
        conv: &str,
        norm: &str,
        [from, to]: [i64; 2],
        kernel: Kernel,
    ) -> Self {
        let shape = [to, from / kernel.groups, kernel.side, kernel.side];
        let init = Init::kaiming_fan_out(to, kernel.side);
        let conv = Conv {
            weight: tensors.floats(format!("{prefix}{conv}.weight"), &shape, init),
            stride: kernel.stride,
            padding: kernel.side / 2,
            groups: kernel.groups,
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
        self.norm.forward(&self.conv.forward(input), mode)
    }
}
