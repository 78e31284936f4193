//! timm's names of what the families build, beside torchvision's: those of its convolutions with BatchNorm and of its inverted residual
//! blocks, which several families share.

use crate::domain::architecture::layer::{Layer, Op};

/// timm's names of a convolution and of the normalisation after it.
pub type Names = [&'static str; 2];

/// Of a network's first convolution, and of its last.
pub const STEM: Names = ["conv_stem", "bn1"];
pub const LAST: Names = ["conv_head", "bn2"];
/// Of a block of one convolution (timm's `ConvBnAct`).
pub const PLAIN: Names = ["conv", "bn1"];
/// Of a block whose full convolution expands, and of the one after it (`EdgeResidual`).
pub const FUSED: [Names; 2] = [["conv_exp", "bn1"], ["conv_pwl", "bn2"]];
/// The two convolutions of squeeze and excitation in these blocks.
pub const SQUEEZE: Names = ["conv_reduce", "conv_expand"];

/// Of the three convolutions of an inverted residual block (`InvertedResidual`), of which the first is missing where nothing is expanded
/// (`DepthwiseSeparableConv`).
pub const fn inverted(expands: bool) -> [Names; 3] {
    match expands {
        true => [["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"]],
        false => [["", ""], ["conv_dw", "bn1"], ["conv_pw", "bn2"]],
    }
}

/// A sequence whose first layers have these names in timm, directly in what encloses the sequence.
pub fn apart(sequence: Layer, names: &[&str]) -> Layer {
    within(sequence, "", names)
}

/// A sequence that has this name in timm, and its first layers these.
pub fn within(sequence: Layer, name: &str, names: &[&str]) -> Layer {
    let Op::Sequence(layers) = sequence.op else {
        return sequence.in_timm(name);
    };
    let mut names = names.iter();
    let renamed = layers.into_iter().map(|layer| match names.next() {
        Some(name) => layer.in_timm(*name),
        None => layer,
    });
    Layer::sequence(sequence.name, renamed.collect()).in_timm(name)
}
