//! A layer that is no composition, with its tensors: the computation of an [`Op`].
//!
//! Both forms of a network are built from these: the one for training ([`super::tree`]) entirely, the folded one where it has no faster
//! form. Activations `[N, C, H, W]` are in channels-last memory, in which convolutions are faster.

use tch::{Kind, Tensor};

use super::{
    dropout::{self, Dropout},
    fused::Shape,
    layers::{self, Mode},
    low_rank::{Affine, LowRank},
    tokens::{attention, positions, windows},
    winograd,
};
use crate::domain::architecture::{
    layer::{Activation, BatchNorm2d, Channels, Conv2d, LayerNorm, Neighbours, Op, Pool},
    tensors::TensorDesign,
};

#[derive(Debug)]
pub struct Leaf {
    op: Op,
    /// In the order of [`Op::tensors`].
    tensors: Vec<Tensor>,
    /// What is added to each of them; empty where nothing is added to any.
    low_rank: Vec<Option<LowRank>>,
    /// Distinguishes its dropout from that of other layers.
    salt: u64,
}

impl Leaf {
    /// `tensor` provides each of its tensors, by design, and what is added to it. `name` is the layer's.
    pub fn new(op: &Op, name: &str, tensor: impl FnMut(&TensorDesign) -> (Tensor, Option<LowRank>)) -> Self {
        let (tensors, mut low_rank): (_, Vec<_>) = op.tensors().iter().map(tensor).unzip();
        if low_rank.iter().all(Option::is_none) {
            low_rank.clear();
        }
        Self {
            tensors,
            low_rank,
            op: op.clone(),
            salt: dropout::salt(name),
        }
    }

    pub fn op(&self) -> &Op {
        &self.op
    }

    /// For another thread: the tensors are shared.
    pub fn share(&self) -> Self {
        Self {
            op: self.op.clone(),
            tensors: self.tensors.iter().map(Tensor::shallow_clone).collect(),
            low_rank: (self.low_rank.iter())
                .map(|added| added.as_ref().map(LowRank::share))
                .collect(),
            salt: self.salt,
        }
    }

    /// Number of values in its tensors.
    pub fn numbers(&self) -> u64 {
        let own: u64 = self.tensors.iter().map(|tensor| tensor.numel() as u64).sum();
        own + self.low_rank.iter().flatten().map(LowRank::numbers).sum::<u64>()
    }

    /// In the order of [`Op::tensors`].
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The weight in this place, the bias in the next one if it `has_bias`, and what is added.
    fn affine(&self, place: usize, has_bias: bool) -> Affine<'_> {
        Affine {
            weight: &self.tensors[place],
            bias: has_bias.then(|| &self.tensors[place + 1]),
            low_rank: self.low_rank.get(place).and_then(Option::as_ref),
        }
    }

    pub fn forward(&self, input: &Tensor, mode: Mode) -> Tensor {
        match (&self.op, self.tensors.as_slice()) {
            (Op::Conv2d(design), [weight, bias @ ..]) => conv2d(input, design, weight, bias.first(), mode),
            (Op::BatchNorm2d(design), tensors) => batch_norm(input, design, tensors, mode),
            (Op::LayerNorm(design), [weight, bias]) => layer_norm(input, design, weight, bias),
            (Op::Linear(design), _) => linear(input, design.over, self.affine(0, design.bias)),
            (Op::Neighbours(design), [bank, labels]) => neighbours(input, design, bank, labels),
            (Op::Attention(design), tensors) => {
                let proj = self.affine(tensors.len() - 2, true);
                attention::forward(input, design, self.affine(0, design.bias), proj)
            }
            (Op::WindowAttention(design), tensors) => {
                let [qkv, proj] = [tensors.len() - 4, tensors.len() - 2];
                let (qkv, proj) = (self.affine(qkv, true), self.affine(proj, true));
                windows::attention(input, design, (&tensors[0], &tensors[1]), qkv, proj)
            }
            (Op::LearnedTokens { count, features }, [tokens]) => {
                let size = [input.size()[0], *count as i64, *features as i64];
                let tokens = tokens.to_kind(input.kind()).expand(size, false);
                Tensor::cat(&[&tokens, input], 1)
            }
            (Op::PositionEmbedding(design), [positions]) => {
                input + positions::for_tokens(positions, design, input.size()[1]).to_kind(input.kind())
            }
            (Op::LayerScale(design), [gamma]) => {
                let gamma = gamma.to_kind(input.kind());
                match design.over {
                    Channels::Second => input * gamma.view([1, -1, 1, 1]),
                    Channels::Last => input * gamma,
                }
            }
            (Op::Dropout { probability }, _) => match mode.dropout() {
                Some(key) => Dropout::salted(*probability, self.salt).apply(input, key),
                None => input.shallow_clone(),
            },
            (Op::StochasticDepth { probability, .. }, _) => match mode.dropout() {
                Some(key) => Dropout::salted(*probability, self.salt).apply_to_rows(input, key),
                None => input.shallow_clone(),
            },
            (op, _) => without_tensors(op, input),
        }
    }
}

/// Layers with neither tensors nor dropout.
fn without_tensors(op: &Op, input: &Tensor) -> Tensor {
    match *op {
        Op::Activation(activation) => activated(input, activation),
        Op::MaxPool2d(pool) => {
            let [side, stride, padding] = sizes(pool);
            input.max_pool2d(side, stride, padding, [1, 1], pool.ceil)
        }
        Op::AvgPool2d(pool) => {
            let [side, stride, padding] = sizes(pool);
            input.avg_pool2d(side, stride, padding, pool.ceil, true, None)
        }
        Op::AdaptiveAvgPool2d { side } => input.adaptive_avg_pool2d([side as i64; 2]),
        Op::Flatten => input.flatten(1, -1),
        Op::ToTokens => input.flatten(2, 3).transpose(1, 2),
        Op::FirstToken => input.select(1, 0),
        Op::Normalise => layers::unit(input),
        Op::MeanToken { skipped } => {
            let skipped = skipped as i64;
            let tokens = input.narrow(1, skipped, input.size()[1] - skipped);
            tokens.mean_dim([1i64].as_slice(), false, None::<Kind>)
        }
        Op::MergePatches => windows::merged(input),
        Op::Subsample { stride } => {
            let stride = stride as i64;
            input.slice(2, None, None, stride).slice(3, None, None, stride)
        }
        Op::Narrow { first, count } => input.narrow(1, first as i64, count as i64),
        Op::ChannelShuffle { groups } => {
            let (count, channels, height, width) = input.size4().expect("a map has four dimensions");
            let groups = groups as i64;
            let apart = input.view([count, groups, channels / groups, height, width]);
            apart.transpose(1, 2).flatten(1, 2)
        }
        Op::PadChannels { channels } => {
            let channels = channels as i64;
            input.constant_pad_nd([0, 0, 0, 0, channels, channels])
        }
        _ => unreachable!("{op:?} has tensors or is a composition"),
    }
}

fn sizes(pool: Pool) -> [[i64; 2]; 3] {
    [pool.side, pool.stride, pool.padding].map(|size| [size as i64; 2])
}

fn activated(input: &Tensor, activation: Activation) -> Tensor {
    match activation {
        Activation::Relu => input.relu(),
        Activation::Relu6 => input.relu6(),
        Activation::Silu => input.silu(),
        Activation::Gelu => input.gelu("none"),
        Activation::Sigmoid => input.sigmoid(),
        Activation::HardSwish => input.hardswish(),
        Activation::HardSigmoid => input.hardsigmoid(),
        Activation::QuickGelu => input * (input * 1.702).sigmoid(),
    }
}

/// The weight has 32-bit floats; the convolution computes in the type of its input, with a copy of the weight in that type, through which
/// the weight still gets its gradient.
fn conv2d(input: &Tensor, design: &Conv2d, weight: &Tensor, bias: Option<&Tensor>, mode: Mode) -> Tensor {
    let shape = Shape::of(design);
    let fast = match (mode.dropout(), design.even_padding()) {
        (Some(_), Some(_)) => winograd::convolution(input, weight, shape),
        _ => None,
    };
    match (fast, bias) {
        (Some(fast), Some(bias)) => fast + bias.view([1, -1, 1, 1]),
        (Some(fast), None) => fast,
        (None, bias) => {
            let kind = input.kind();
            let bias = bias.map(|bias| bias.to_kind(kind));
            padded(input, design).conv2d(
                &weight.to_kind(kind),
                bias.as_ref(),
                [shape.stride; 2],
                shape.padding,
                [shape.dilation; 2],
                shape.groups,
            )
        }
    }
}

/// The input with padding that differs between its sides; other padding is left to the convolution itself.
pub fn padded(input: &Tensor, design: &Conv2d) -> Tensor {
    if design.even_padding().is_some() {
        return input.shallow_clone();
    }
    let (_, _, height, width) = input.size4().expect("a convolution's input has four dimensions");
    let padding = design.padding_of([height as u64, width as u64]);
    let [[top, bottom], [left, right]] = padding.map(|places| places.map(|places| places as i64));
    input.constant_pad_nd([left, right, top, bottom])
}

/// Statistics are 32-bit floats, and are computed as such for 16-bit inputs too.
fn batch_norm(input: &Tensor, design: &BatchNorm2d, tensors: &[Tensor], mode: Mode) -> Tensor {
    let [weight, bias, mean, variance, counter] = tensors else {
        unreachable!("BatchNorm has five tensors");
    };
    // By how much the running statistics move.
    let momentum = match mode {
        Mode::Train(_) | Mode::Eval => Some(design.momentum),
        Mode::TrainBeside(_) => None,
        Mode::Batch { share } => share,
    };
    if matches!(mode, Mode::Train(_)) {
        let _ = counter.shallow_clone().g_add_scalar_(1);
    }
    input.batch_norm(
        Some(weight),
        Some(bias),
        momentum.map(|_| mean),
        momentum.map(|_| variance),
        mode != Mode::Eval,
        momentum.unwrap_or_default(),
        design.epsilon,
        true,
    )
}

fn layer_norm(input: &Tensor, design: &LayerNorm, weight: &Tensor, bias: &Tensor) -> Tensor {
    let [weight, bias] = [weight, bias].map(|tensor| tensor.to_kind(input.kind()));
    let over_last = |input: &Tensor| {
        let features = [design.features as i64];
        input.layer_norm(features, Some(&weight), Some(&bias), design.epsilon, true)
    };
    match design.over {
        Channels::Last => over_last(input),
        Channels::Second => over_last(&input.permute([0, 2, 3, 1])).permute([0, 3, 1, 2]),
    }
}

fn linear(input: &Tensor, over: Channels, affine: Affine) -> Tensor {
    match over {
        Channels::Last => affine.of(input),
        Channels::Second => affine.of(&input.permute([0, 2, 3, 1])).permute([0, 3, 1, 2]),
    }
}

fn neighbours(input: &Tensor, design: &Neighbours, bank: &Tensor, labels: &Tensor) -> Tensor {
    let products = input.matmul(&bank.to_kind(input.kind()).tr());
    let (nearest, places) = products.topk(design.k as i64, -1, true, true);
    let votes = (nearest / design.temperature).softmax(-1, input.kind());
    let chosen = labels.index_select(0, &places.reshape([-1]));
    let classes = chosen.to_kind(Kind::Int64).view_as(&places);
    let none = Tensor::zeros(
        [input.size()[0], design.classes as i64],
        (input.kind(), input.device()),
    );
    let shares = none.scatter_add(1, &classes, &votes);
    shares.clamp_min(Neighbours::SMALLEST_SHARE).log()
}
