//! How BatchNorms go into the convolutions before them.

use tch::{Device, Kind, Tensor};

use super::{
    block::{Block, Shortcut},
    conv::Conv,
};
use crate::{
    domain::architecture::design::{self, Convolution},
    worker::{
        nets::{fused::Shape, layers::channels_last},
        state::StateDict,
    },
};

/// BatchNorm's, as torch has it.
const EPSILON: f64 = 1e-5;

/// Makes convolutions out of the tensors of a network, for a device, in floats of one kind.
pub(super) struct Fold<'a> {
    pub state: &'a StateDict,
    pub kind: Kind,
    pub device: Device,
}

impl Fold<'_> {
    pub fn block(&self, prefix: &str, design: &design::Block) -> Block {
        let branch = (1..).zip(&design.branch).map(|(number, convolution)| {
            self.conv(
                prefix,
                [&format!("conv{number}"), &format!("bn{number}")],
                convolution,
            )
        });
        Block {
            branch: branch.collect(),
            shortcut: match &design.shortcut {
                design::Shortcut::Identity => Shortcut::Identity,
                design::Shortcut::Projection(convolution) => {
                    Shortcut::Projection(self.conv(prefix, ["downsample.0", "downsample.1"], convolution))
                }
                design::Shortcut::Padded { stride, channels } => Shortcut::Padded {
                    stride: *stride as i64,
                    channels: *channels as i64,
                },
            },
        }
    }

    /// `y = (conv(x) - mean) / sqrt(var + epsilon) * weight + bias` as one convolution with a bias, in 64-bit floats and then rounded.
    pub fn conv(&self, prefix: &str, [conv, norm]: [&str; 2], design: &Convolution) -> Conv {
        let tensor = |name: String| self.state[&name].to_device(Device::Cpu).to_kind(Kind::Double);
        let of_norm = |part: &str| tensor(format!("{prefix}{norm}.{part}"));
        let factor = of_norm("weight") / (of_norm("running_var") + EPSILON).sqrt();
        let weight = tensor(format!("{prefix}{conv}.weight")) * factor.view([-1, 1, 1, 1]);
        let bias = of_norm("bias") - of_norm("running_mean") * factor;
        let placed = |tensor: Tensor| tensor.to_kind(self.kind).to_device(self.device);
        let shape = Shape {
            stride: design.stride as i64,
            padding: (design.side / 2) as i64,
            groups: design.groups as i64,
        };
        Conv::new(channels_last(&placed(weight)), placed(bias), shape)
    }
}
