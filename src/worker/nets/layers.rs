//! The layers that networks are made of: plain structs over tensors that the network's named state holds too.
//!
//! They compute; who learns, and which layers use batch statistics, the caller says with [`Mode`]. Pictures and activations are
//! `[N, C, H, W]` in channels-last memory, which convolutions are faster in.

use tch::Tensor;

use super::{fused::Shape, winograd};

/// What the layers are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Learn: BatchNorm normalises with the batch's own statistics and moves its stored ones towards them; convolutions are computed in
    /// the form that is fastest with their gradients.
    Train,
    /// Stay: BatchNorm normalises with its stored statistics and leaves them as they are; convolutions are libtorch's own, which all
    /// faster forms are held to (see [`super::folded`]).
    Eval,
}

/// A copy with channels innermost in memory; tensors that are not 4-dimensional are only shared.
///
/// tch has no call for memory formats; these strides are what libtorch recognises as one. They are written into fresh memory, because
/// `contiguous()` would leave a 1×1 kernel as it is, with strides other than those that its gradient comes with.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    if tensor.dim() != 4 {
        return tensor.shallow_clone();
    }
    let innermost = tensor.permute([0, 2, 3, 1]);
    let mut copy = Tensor::empty(innermost.size(), (tensor.kind(), tensor.device()));
    copy.copy_(&innermost);
    copy.permute([0, 3, 1, 2])
}

/// The mean over H and W: `[N, C, H, W]` to `[N, C]`.
pub fn pooled(activations: &Tensor) -> Tensor {
    activations.adaptive_avg_pool2d([1, 1]).flatten(1, -1)
}

/// The same activations `[N, C, H, W]` in dense channels-last memory: shared where they are, otherwise a copy.
pub fn contiguous_channels_last(activations: &Tensor) -> Tensor {
    activations
        .permute([0, 2, 3, 1])
        .contiguous()
        .permute([0, 3, 1, 2])
}

/// A convolution without bias. Weight: `[out, in / groups, kernel, kernel]`, 32-bit floats; it computes in the numbers that its input
/// comes in, with a copy of the weight in these, through which the weight still learns.
#[derive(Debug)]
pub struct Conv {
    pub(super) weight: Tensor,
    pub(super) stride: i64,
    pub(super) padding: i64,
    pub(super) groups: i64,
}

impl Conv {
    pub fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        let shape = Shape {
            stride: self.stride,
            padding: self.padding,
            groups: self.groups,
        };
        let fast = match mode {
            Mode::Train => winograd::convolution(input, &self.weight, shape),
            Mode::Eval => None,
        };
        fast.unwrap_or_else(|| self.direct(input))
    }

    fn direct(&self, input: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        input.conv2d(
            &self.weight.to_kind(input.kind()),
            None::<&Tensor>,
            stride,
            padding,
            [1, 1],
            self.groups,
        )
    }
}

/// Batch normalisation over N, H and W (Ioffe and Szegedy 2015), with torch's epsilon and momentum. Every tensor but the counter: `[C]`,
/// 32-bit floats, in which the statistics of inputs of 16 bits are computed too.
#[derive(Debug)]
pub struct BatchNorm {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) running_mean: Tensor,
    pub(super) running_var: Tensor,
    /// A scalar of 64-bit integers. Nothing here reads it; other programs do.
    pub(super) num_batches_tracked: Tensor,
}

impl BatchNorm {
    const EPSILON: f64 = 1e-5;
    /// Share of a batch's statistics that goes into the stored ones.
    const MOMENTUM: f64 = 0.1;

    pub fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        let training = mode == Mode::Train;
        if training {
            let _ = self.num_batches_tracked.shallow_clone().g_add_scalar_(1);
        }
        input.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            training,
            Self::MOMENTUM,
            Self::EPSILON,
            true,
        )
    }
}

/// A fully connected layer, `[N, in]` to `[N, out]`. Weight: `[out, in]`.
#[derive(Debug)]
pub struct Linear {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

impl Linear {
    pub fn forward(&self, input: &Tensor) -> Tensor {
        input.linear(&self.weight, Some(&self.bias))
    }
}
