//! What all forms of a network have in common: what a pass is for, and how activations lie in memory.

use tch::Tensor;

use super::dropout::DropoutKey;

/// What the layers are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Learn: BatchNorm normalises with the batch's own statistics and moves its stored ones towards them; dropout leaves out what this key
    /// says; convolutions are computed in the form that is fastest with their gradients.
    Train(DropoutKey),
    /// Stay: BatchNorm normalises with its stored statistics and leaves them as they are; nothing is dropped; convolutions are libtorch's own,
    /// which all faster forms are held to (see [`super::folded`]).
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

/// The same activations `[N, C, H, W]` in dense channels-last memory: shared where they are, otherwise a copy.
pub fn contiguous_channels_last(activations: &Tensor) -> Tensor {
    activations
        .permute([0, 2, 3, 1])
        .contiguous()
        .permute([0, 3, 1, 2])
}
