//! Shared by all forms of a network: the mode of a forward pass, and the memory layout of activations.

use tch::Tensor;

use super::dropout::DropoutKey;

/// The mode of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Train: BatchNorm normalises with the batch's own statistics and updates its running ones; dropout uses the mask of this key;
    /// convolutions are computed in the form that is fastest including their gradients.
    Train(DropoutKey),
    /// As [`Mode::Train`], except that the running statistics stay as they are: for images of another domain than these are for.
    TrainBeside(DropoutKey),
    /// As [`Mode::Eval`], except that BatchNorm normalises with the batch's own statistics. Its running ones move towards these by `share`,
    /// 0 to 1; without it they stay as they are.
    Batch { share: Option<f64> },
    /// Evaluate: BatchNorm normalises with its running statistics and does not update them; nothing is dropped; convolutions are libtorch's
    /// own, which all faster forms are compared with (see [`super::folded`]).
    Eval,
}

impl Mode {
    /// Of a training step.
    pub fn dropout(self) -> Option<DropoutKey> {
        match self {
            Mode::Train(key) | Mode::TrainBeside(key) => Some(key),
            Mode::Batch { .. } | Mode::Eval => None,
        }
    }
}

/// A copy with channels innermost in memory; tensors that are not 4-dimensional are only shared.
///
/// tch has no call for memory formats; these strides are what libtorch recognises as one. They are written into fresh memory, because
/// `contiguous()` would leave a 1×1 kernel unchanged, with strides other than those of its gradient.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    if tensor.dim() != 4 {
        return tensor.shallow_clone();
    }
    let innermost = tensor.permute([0, 2, 3, 1]);
    let mut copy = Tensor::empty(innermost.size(), (tensor.kind(), tensor.device()));
    copy.copy_(&innermost);
    copy.permute([0, 3, 1, 2])
}

/// The same activations `[N, C, H, W]` in dense channels-last memory: shared if they already are, otherwise copied.
pub fn contiguous_channels_last(activations: &Tensor) -> Tensor {
    activations
        .permute([0, 2, 3, 1])
        .contiguous()
        .permute([0, 3, 1, 2])
}

/// Vectors `[…, features]` divided by their lengths; by 1e-12 if one is shorter, as in torch.nn.functional.normalize. The gradient of a vector
/// of zeros is finite.
pub fn unit(vectors: &Tensor) -> Tensor {
    let length = vectors.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true);
    vectors / length.clamp_min(1e-12)
}
