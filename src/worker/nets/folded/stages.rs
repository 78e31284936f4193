//! Some stages of a network for answering, from the pictures or from what left an earlier stage.

use tch::{Device, Kind, Tensor};

use super::{
    block::{Block, Shortcut},
    conv::Conv,
    fold::Fold,
};
use crate::{
    domain::architecture::{Architecture, Stage, design::Design},
    worker::{nets::layers, state::StateDict},
};

/// Stages in a row, in eval mode, their BatchNorms folded into the convolutions.
#[derive(Debug)]
pub struct FoldedStages {
    /// Where they begin with the pictures.
    stem: Option<Stem>,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Stem {
    conv: Conv,
    pooling: bool,
}

impl FoldedStages {
    /// The stages after `after`, all where it is none, up to and with `last`. They share nothing with `state`.
    pub fn of(
        architecture: Architecture,
        state: &StateDict,
        (after, last): (Option<Stage>, Stage),
        kind: Kind,
        device: Device,
    ) -> Self {
        // Networks learn; what is folded does not follow them.
        tch::no_grad(|| {
            let fold = Fold { state, kind, device };
            let design = Design::of(architecture);
            let stem = design.stem();
            let stem = after.is_none().then(|| Stem {
                conv: fold.conv("", ["conv1", "bn1"], &stem.convolution),
                pooling: stem.pooling,
            });
            let wanted = |stage: Stage| after.is_none_or(|after| stage > after) && stage <= last;
            let mut blocks = Vec::new();
            for (stage, designs) in design.blocks() {
                for (index, block) in designs.iter().enumerate().filter(|_| wanted(stage)) {
                    blocks.push(fold.block(&format!("{}.{index}.", stage.as_str()), block));
                }
            }
            Self { stem, blocks }
        })
    }

    /// The same, faster on a processor with 32-bit floats `[N, C, H, W]` of this size; the results differ by rounding.
    pub fn packed_for(&self, mut size: [i64; 4]) -> Self {
        let mut packed = self.share();
        if let (Some(own), Some(stem)) = (&self.stem, &mut packed.stem) {
            (stem.conv, size) = own.conv.packed_for(size);
            if stem.pooling {
                size = after_pooling(size);
            }
        }
        for (own, packed) in self.blocks.iter().zip(&mut packed.blocks) {
            (*packed, size) = own.packed_for(size);
        }
        packed
    }

    /// What leaves the last of them, before any pooling, of pictures `[N, 3, H, W]` or of what left the stage before.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        let mut activations = match &self.stem {
            Some(stem) => stem.forward(input),
            None if self.writes_over_its_input() => layers::channels_last(input),
            None => input.shallow_clone(),
        };
        for block in &self.blocks {
            activations = block.forward(activations);
        }
        activations
    }

    /// Bytes of the kernels: of its own, and of those that it shares with its other packed forms.
    pub fn bytes(&self) -> (u64, u64) {
        let blocks = self.blocks.iter().flat_map(Block::convolutions);
        let all = self.stem.iter().map(|stem| &stem.conv).chain(blocks);
        let sum = |(own, shared): (u64, u64), conv: &Conv| {
            let bytes = conv.bytes();
            (own + bytes.0, shared + bytes.1)
        };
        all.fold((0, 0), sum)
    }

    /// For another thread: the tensors are shared.
    pub fn share(&self) -> Self {
        Self {
            stem: self.stem.as_ref().map(|stem| Stem {
                conv: stem.conv.share(),
                pooling: stem.pooling,
            }),
            blocks: self.blocks.iter().map(Block::share).collect(),
        }
    }

    fn writes_over_its_input(&self) -> bool {
        let first = self.blocks.first();
        first.is_some_and(|block| matches!(block.shortcut, Shortcut::Identity))
    }
}

impl Stem {
    fn forward(&self, pictures: &Tensor) -> Tensor {
        let activations = self.conv.forward_relu(pictures);
        match self.pooling {
            true => activations.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false),
            false => activations,
        }
    }
}

/// Of activations `[N, C, H, W]`, by a pooling of 3 × 3 pixels, every other one, with one around.
fn after_pooling([count, channels, height, width]: [i64; 4]) -> [i64; 4] {
    [count, channels, (height - 1) / 2 + 1, (width - 1) / 2 + 1]
}
