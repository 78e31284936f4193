//! A residual block of folded convolutions.

use tch::Tensor;

use super::conv::Conv;

#[derive(Debug)]
pub(super) struct Block {
    pub branch: Vec<Conv>,
    pub shortcut: Shortcut,
}

#[derive(Debug)]
pub(super) enum Shortcut {
    Identity,
    Projection(Conv),
    Padded { stride: i64, channels: i64 },
}

impl Block {
    /// See [`Conv::packed_for`].
    pub fn packed_for(&self, size: [i64; 4]) -> (Self, [i64; 4]) {
        let mut packed = self.share();
        if let Shortcut::Projection(projection) = &self.shortcut {
            packed.shortcut = Shortcut::Projection(projection.packed_for(size).0);
        }
        let mut output = size;
        for (own, packed) in self.branch.iter().zip(&mut packed.branch) {
            (*packed, output) = own.packed_for(output);
        }
        (packed, output)
    }

    /// `input` may be written over.
    pub fn forward(&self, input: Tensor) -> Tensor {
        let Some((last, before)) = self.branch.split_last() else {
            return input;
        };
        let mut activations = input.shallow_clone();
        for conv in before {
            activations = conv.forward_relu(&activations);
        }
        match &self.shortcut {
            Shortcut::Identity => last.forward_sum_relu(&activations, &input),
            Shortcut::Projection(projection) => {
                last.forward_sum_relu(&activations, &projection.forward(&input))
            }
            Shortcut::Padded { stride, channels } => {
                let fewer = input.slice(2, None, None, *stride).slice(3, None, None, *stride);
                let padded = fewer.constant_pad_nd([0, 0, 0, 0, *channels, *channels]);
                last.forward(&activations).g_add_(&padded).relu_()
            }
        }
    }

    pub fn convolutions(&self) -> impl Iterator<Item = &Conv> {
        let projection = match &self.shortcut {
            Shortcut::Projection(projection) => Some(projection),
            _ => None,
        };
        self.branch.iter().chain(projection)
    }

    /// For another thread: the tensors are shared.
    pub fn share(&self) -> Self {
        Self {
            branch: self.branch.iter().map(Conv::share).collect(),
            shortcut: match &self.shortcut {
                Shortcut::Identity => Shortcut::Identity,
                Shortcut::Projection(projection) => Shortcut::Projection(projection.share()),
                Shortcut::Padded { stride, channels } => Shortcut::Padded {
                    stride: *stride,
                    channels: *channels,
                },
            },
        }
    }
}
