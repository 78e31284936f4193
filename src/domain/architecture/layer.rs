//! Building blocks of networks: layers, as plain data.
//!
//! A network is defined once, in these terms, and everything else follows: the trainable form, the folded form for inference, the ONNX
//! graph, the TorchScript module, the names and shapes of its tensors, its size. Code that walks the layers matches on [`Op`], so that a
//! new one cannot be forgotten anywhere.
//!
//! Activations are `[N, C, H, W]`, tokens `[N, T, C]` or vectors `[N, C]` (see [`super::shape`]).

use super::init::Init;

/// A layer and its name among its siblings.
///
/// A tensor's name consists of the names of all enclosing sequences, that of its layer and its own, joined by dots. A sequence without a
/// name adds nothing; the names of other compositions, and of layers without tensors, only distinguish nodes of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub name: String,
    pub op: Op,
}

/// What a layer does.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Conv2d(Conv2d),
    BatchNorm2d(BatchNorm2d),
    LayerNorm(LayerNorm),
    Linear(Linear),
    Attention(Attention),
    /// Prepends a learned token (Dosovitskiy et al. 2021).
    ClassToken {
        features: u64,
    },
    /// Adds a learned vector to each token (Dosovitskiy et al. 2021).
    PositionEmbedding {
        tokens: u64,
        features: u64,
    },
    /// Scales each channel by a learned factor, `initial` at first (Touvron et al. 2021, "Going deeper with Image Transformers").
    LayerScale {
        features: u64,
        initial: f64,
        over: Channels,
    },
    Activation(Activation),
    MaxPool2d(Pool),
    /// As in torch with `count_include_pad`: the padding counts as zeros.
    AvgPool2d(Pool),
    /// The mean over each of `side × side` equal areas: `[N, C, H, W]` to `[N, C, side, side]`.
    AdaptiveAvgPool2d {
        side: u64,
    },
    /// `[N, C, H, W]` to `[N, C · H · W]`.
    Flatten,
    /// `[N, C, H, W]` to one token per position, row by row: `[N, H · W, C]`.
    ToTokens,
    /// `[N, T, C]` to the first token, `[N, C]`.
    FirstToken,
    /// `[N, T, C]` to the mean of all tokens, `[N, C]`.
    MeanToken,
    /// Each vector divided by its length; by 1e-12 if it is shorter, as in torch's `normalize`.
    Normalise,
    Neighbours(Neighbours),
    /// Every `stride`-th position in both directions.
    Subsample {
        stride: u64,
    },
    /// Zero channels: this many before and this many after.
    PadChannels {
        channels: u64,
    },
    /// While the network trains, each value is set to 0 with this probability; the others are scaled up to compensate (Srivastava et al.
    /// 2014).
    Dropout {
        probability: f64,
    },
    /// The same for all values of an image together (Huang et al. 2016).
    StochasticDepth {
        probability: f64,
        over: Channels,
    },
    /// One after another; without layers, the identity.
    Sequence(Vec<Layer>),
    /// The sum of the outputs of its layers for the same input.
    Sum(Vec<Layer>),
    /// The outputs of its layers for the same input, concatenated along the channels.
    Concat(Vec<Layer>),
    /// The product of the outputs of its layers for the same input, `[N, C, 1, 1]` being broadcast over all positions. With
    /// [`Layer::identity`] and a branch that ends in a sigmoid: squeeze and excitation (Hu et al. 2018).
    Product(Vec<Layer>),
}

/// A convolution. Weight: `[to, from / groups, side, side]`; bias: `[to]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// Input and output channels.
    pub from: u64,
    pub to: u64,
    /// Of the square kernel.
    pub side: u64,
    pub stride: u64,
    pub padding: Padding,
    /// Distance between neighbouring kernel elements; 1 is dense.
    pub dilation: u64,
    /// Depthwise where it equals the number of channels.
    pub groups: u64,
    pub bias: bool,
    pub init: Init,
}

/// How the input is padded, always with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// This many positions on each side.
    Each(u64),
    /// TensorFlow's `SAME`: as many as are needed for an output of `ceil(length / stride)` positions, the odd one at the end.
    Same,
}

/// Batch normalisation over N, H and W (Ioffe and Szegedy 2015). Every tensor but the counter: `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm2d {
    pub channels: u64,
    pub epsilon: f64,
    /// Weight of a batch's statistics in the running ones.
    pub momentum: f64,
}

/// Normalisation over the channels of each position or token (Ba et al. 2016). Weight and bias: `[features]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    pub features: u64,
    pub epsilon: f64,
    pub over: Channels,
}

/// Where the channels of an activation are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// `[N, C, H, W]`
    Second,
    /// `[N, T, C]`, `[N, C]`
    Last,
}

/// A fully connected layer. Weight: `[to, from]`; bias: `[to]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    pub from: u64,
    pub to: u64,
    pub bias: bool,
    pub init: Init,
}

/// Multi-head self-attention (Vaswani et al. 2017) with timm's names: `qkv`, queries, keys and values in this order, and `proj`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    pub features: u64,
    pub heads: u64,
    /// For queries, keys and values.
    pub bias: bool,
    pub init: Init,
}

/// The logarithm of the votes of the `k` rows of its bank that have the largest products with the input: shares of the softmax of the
/// products divided by the temperature, summed by class (Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance
/// Discrimination", section 3.4; as in DINO). A class has a share of at least [`Neighbours::SMALLEST_SHARE`]. Bank: `[images, features]`, labels: `[images]`, as
/// floats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbours {
    /// Rows of the bank.
    pub images: u64,
    pub features: u64,
    pub classes: u64,
    /// At most `images`.
    pub k: u64,
    /// Above 0.
    pub temperature: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Relu,
    Relu6,
    Silu,
    /// Exact, with the error function, not the approximation.
    Gelu,
    Sigmoid,
    HardSwish,
    HardSigmoid,
}

/// Pooling with a window of `side × side`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub side: u64,
    pub stride: u64,
    /// On each side; padding is never the maximum.
    pub padding: u64,
    /// Whether a window that extends beyond the end produces one more position (torch's `ceil_mode`).
    pub ceil: bool,
}

impl Layer {
    pub fn new(name: impl Into<String>, op: Op) -> Self {
        let name = name.into();
        Self { name, op }
    }

    /// Layers one after another, with their tensors below `name`.
    pub fn sequence(name: impl Into<String>, layers: Vec<Layer>) -> Self {
        Self::new(name, Op::Sequence(layers))
    }

    /// What comes in.
    pub fn identity() -> Self {
        Self::sequence("", Vec::new())
    }

    pub fn activation(name: impl Into<String>, activation: Activation) -> Self {
        Self::new(name, Op::Activation(activation))
    }

    /// Whether its output may be overwritten: it is neither its input nor needed for its own gradients.
    pub fn gives_its_own(&self) -> bool {
        match &self.op {
            Op::Conv2d(_) | Op::BatchNorm2d(_) | Op::Linear(_) => true,
            Op::Sequence(layers) => layers.last().is_some_and(Layer::gives_its_own),
            Op::Sum(layers) => layers.len() > 1,
            _ => false,
        }
    }

    pub fn is_relu(&self) -> bool {
        self.op == Op::Activation(Activation::Relu)
    }

    /// With torch's epsilon and momentum.
    pub fn batch_norm(name: impl Into<String>, channels: u64) -> Self {
        let norm = BatchNorm2d {
            channels,
            epsilon: 1e-5,
            momentum: 0.1,
        };
        Self::new(name, Op::BatchNorm2d(norm))
    }
}

impl Neighbours {
    /// Of the votes, so that the logarithm of no vote is finite.
    pub const SMALLEST_SHARE: f64 = 1e-6;
}

impl Conv2d {
    /// Dense, without bias, padded by half its side to preserve the size, and initialised as in torchvision.
    pub fn new(from: u64, to: u64, side: u64) -> Self {
        Self {
            from,
            to,
            side,
            stride: 1,
            padding: Padding::Each(side / 2),
            dilation: 1,
            groups: 1,
            bias: false,
            init: Init::kaiming_fan_out(to, side),
        }
    }

    pub fn strided(self, stride: u64) -> Self {
        Self { stride, ..self }
    }

    pub fn grouped(self, groups: u64) -> Self {
        Self { groups, ..self }
    }

    /// The padding, where it is the same on all sides for inputs of any size.
    pub fn even_padding(&self) -> Option<u64> {
        match self.padding {
            Padding::Each(places) => Some(places),
            Padding::Same if self.stride == 1 && self.reach() % 2 == 1 => Some(self.reach() / 2),
            Padding::Same => None,
        }
    }

    /// Extent of the kernel, dilation included.
    pub fn reach(&self) -> u64 {
        (self.side - 1) * self.dilation + 1
    }
}

/// The full name of `name` below `prefix`.
pub fn joined(prefix: &str, name: &str) -> String {
    match (prefix, name) {
        ("", name) => name.to_owned(),
        (prefix, "") => prefix.to_owned(),
        _ => format!("{prefix}.{name}"),
    }
}
