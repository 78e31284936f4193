//! Some stages of a network for inference, from the images or from the output of an earlier stage.

use tch::{Kind, Tensor};

use super::{
    conv::Conv,
    fold::{Fold, Form},
    tree::{self, Activations, Tree},
};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::architecture::{Outputs, Stage, network::NetworkDesign, shape::Shape},
    worker::files::state::StateDict,
};

/// Consecutive stages in eval mode, with their BatchNorms folded into the convolutions.
#[derive(Debug)]
pub struct FoldedStages {
    trees: Vec<Tree>,
    /// Where the last stage begins.
    last: usize,
    /// Where each stage ends; none of what is no stage.
    ends: Vec<(Stage, usize)>,
}

impl FoldedStages {
    /// The stages after `after`, or from the first where it is none, up to and including `last`.
    pub fn of(
        design: &NetworkDesign,
        state: &StateDict,
        (after, last): (Option<Stage>, Stage),
        form: Form,
    ) -> Self {
        let wanted = |stage: Stage| after.is_none_or(|after| stage > after) && stage <= last;
        let stages = design.stages.iter().filter(|(stage, _)| wanted(*stage));
        // Networks are trained; folded weights do not follow them.
        without_gradients(|| {
            let fold = Fold { state, form };
            let (mut trees, mut last, mut ends) = (Vec::new(), 0, Vec::new());
            for (stage, layers) in stages {
                last = trees.len();
                trees.extend(fold.layers(layers));
                ends.push((*stage, trees.len()));
            }
            Self { trees, last, ends }
        })
    }

    /// The layers after the last stage, up to the feature vector.
    pub fn pooling(design: &NetworkDesign, state: &StateDict, form: Form) -> Self {
        without_gradients(|| {
            let fold = Fold { state, form };
            Self {
                trees: fold.layers(&design.pooling),
                last: 0,
                ends: Vec::new(),
            }
        })
    }

    /// The head, from feature vectors to logits, in 32-bit floats.
    pub fn head(design: &NetworkDesign, outputs: Outputs, state: &StateDict, form: Form) -> Self {
        let head = design.head_of(outputs.head, outputs.classes as u64);
        without_gradients(|| {
            let kind = Kind::Float;
            let form = Form { kind, ..form };
            let fold = Fold { state, form };
            Self {
                trees: fold.layers([&head]),
                last: 0,
                ends: Vec::new(),
            }
        })
    }

    /// The same, faster on a CPU with 32-bit floats `[N, C, H, W]` of this size; the results differ by rounding.
    pub fn packed_for(&self, [count, channels, height, width]: [i64; 4]) -> Self {
        let [channels, height, width] = [channels, height, width].map(|length| length as u64);
        let shape = Shape::Map {
            channels,
            height,
            width,
        };
        let (trees, _) = tree::packed(&self.trees, (count, shape));
        Self {
            trees,
            last: self.last,
            ends: self.ends.clone(),
        }
    }

    /// The output of the last of them, before any pooling, for images `[N, 3, H, W]` or for the output of the stage before.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        Self::through(&self.trees, input)
    }

    /// The output of the stages up to and including one of them.
    pub fn until(&self, stage: Stage, input: &Tensor) -> Tensor {
        let end = self.ends.iter().find(|(of, _)| *of == stage);
        let end = end.map_or(self.trees.len(), |(_, end)| *end);
        Self::through(&self.trees[..end], input)
    }

    /// The output of all of them but the last.
    pub fn before_last(&self, input: &Tensor) -> Tensor {
        Self::through(&self.trees[..self.last], input)
    }

    /// The output of the last for that of the one before.
    pub fn last(&self, input: &Tensor) -> Tensor {
        Self::through(&self.trees[self.last..], input)
    }

    fn through(trees: &[Tree], input: &Tensor) -> Tensor {
        let tensor = input.shallow_clone();
        tree::sequence(trees, Activations { tensor, own: false }).tensor
    }

    /// Bytes of the kernels: of its own, and of those that it shares with its other packed forms.
    pub fn bytes(&self) -> (u64, u64) {
        tree::total(self.trees.iter().map(Tree::bytes))
    }

    /// Bytes of those tensors of layers that are not convolutions for which `is_meant` holds.
    pub fn bytes_of(&self, is_meant: &dyn Fn(&Tensor) -> bool) -> u64 {
        self.trees.iter().map(|tree| tree.bytes_of(is_meant)).sum()
    }

    /// For another thread: the tensors are shared.
    pub fn share(&self) -> Self {
        self.with(Conv::share)
    }

    /// The same, each layer computing as it does for the size that it was packed for, also where the input is smaller.
    pub fn as_for_its_size(&self) -> Self {
        self.with(Conv::as_for_its_size)
    }

    fn with(&self, conv: fn(&Conv) -> Conv) -> Self {
        Self {
            trees: tree::with(&self.trees, conv),
            last: self.last,
            ends: self.ends.clone(),
        }
    }
}
