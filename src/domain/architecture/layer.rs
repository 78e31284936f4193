//! Building blocks of networks: layers, as plain data.
//!
//! A network is defined once, in these terms, and everything else follows: the trainable form, the folded form for inference, the ONNX
//! graph, the TorchScript module, the names and shapes of its tensors, its size. Code that walks the layers matches on [`Op`], so that a
//! new one cannot be forgotten anywhere.
//!
//! Activations are `[N, C, H, W]`, tokens `[N, T, C]` or vectors `[N, C]` (see [`super::shape`]).

use super::{init::Init, windows::WindowAttention};

/// A layer and its name among its siblings.
///
/// A tensor's name consists of the names of all enclosing sequences, that of its layer and its own, joined by dots. A sequence without a
/// name adds nothing; the names of other compositions, and of layers without tensors, only distinguish nodes of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub name: String,
    /// What timm calls it, where that is another name ([`super::timm`]).
    pub name_in_timm: Option<String>,
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
    WindowAttention(WindowAttention),
    /// Prepends so many learned tokens: the class token (Dosovitskiy et al. 2021) or registers (Darcet et al. 2024).
    LearnedTokens {
        count: u64,
        features: u64,
    },
    PositionEmbedding(PositionEmbedding),
    LayerScale(LayerScale),
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
    /// `[N, T, C]` to the mean of all tokens after the first `skipped`, `[N, C]`.
    MeanToken {
        skipped: u64,
    },
    /// Each vector divided by its length; by 1e-12 if it is shorter, as in torch's `normalize`.
    Normalise,
    Neighbours(Neighbours),
    /// Each square of 2 × 2 positions becomes one with the channels of all four, column by column, with zeros beyond the end:
    /// `[N, C, H, W]` to `[N, 4 C, ⌈H / 2⌉, ⌈W / 2⌉]`.
    MergePatches,
    /// Every `stride`-th position in both directions.
    Subsample {
        stride: u64,
    },
    /// Of all channels, `count` from `first` on.
    Narrow {
        first: u64,
        count: u64,
    },
    /// Channels in groups, reordered so that those with the same place in their group are neighbours (Zhang et al. 2018, "ShuffleNet").
    ChannelShuffle {
        groups: u64,
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

/// A convolution. Weight: `[to, from / groups, height, width]`; bias: `[to]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// Input and output channels.
    pub from: u64,
    pub to: u64,
    /// Height and width.
    pub kernel: [u64; 2],
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
    /// This many rows above and below, and columns left and right.
    Each([u64; 2]),
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

/// Scales each channel by a learned factor, `initial` at first (Touvron et al. 2021, "Going deeper with Image Transformers").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerScale {
    pub features: u64,
    pub initial: f64,
    pub over: Channels,
    /// Whether the factors are a tensor `[features, 1, 1]`, as torchvision has them, and not `[features]`.
    pub is_map: bool,
}

/// Adds a learned vector to each token (Dosovitskiy et al. 2021). For images of another size than the network is designed for, the vectors
/// of the patches are interpolated (bicubic with antialiasing, as timm does).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionEmbedding {
    /// Patches along a side of the images that the network is designed for.
    pub grid: u64,
    /// Tokens before those of the patches: with positions of their own, never interpolated.
    pub prefix: u64,
    pub features: u64,
}

/// A fully connected layer, over the channels of each position or token. Weight: `[to, from]`; bias: `[to]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    pub from: u64,
    pub to: u64,
    pub bias: bool,
    pub init: Init,
    pub over: Channels,
    /// Where timm has the same as a convolution over a whole map of `side × side`: that side.
    pub side_in_timm: Option<u64>,
}

/// Multi-head self-attention (Vaswani et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    pub features: u64,
    pub heads: u64,
    /// For queries, keys and values.
    pub bias: bool,
    pub init: Init,
    pub names: AttentionNames,
    pub rotary: Option<Rotary>,
}

/// Rotary position embedding of the patches (Su et al. 2021; in two dimensions as in DINOv3, Siméoni et al. 2025): queries and keys are turned
/// by angles that are proportional to the row and the column of their patch, from -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// Tokens before those of the patches: they are not turned.
    pub prefix: u64,
    /// The slowest of the features is so many times slower than the fastest.
    pub base: f64,
}

/// What the tensors of an attention are called; queries, keys and values are in one, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionNames {
    /// `qkv.weight`, `qkv.bias`, `proj.weight`, `proj.bias`
    Timm,
    /// `in_proj_weight`, `in_proj_bias`, `out_proj.weight`, `out_proj.bias`
    Torch,
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
    /// `x · sigmoid(1.702 x)` (Radford et al. 2021, CLIP)
    QuickGelu,
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
        Self {
            name: name.into(),
            name_in_timm: None,
            op,
        }
    }

    /// The same layer, which has another name in timm; of a sequence, an empty one adds nothing to those below it.
    pub fn in_timm(self, name: impl Into<String>) -> Self {
        Self {
            name_in_timm: Some(name.into()),
            ..self
        }
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

impl Linear {
    /// Over the last dimension, with a bias, and initialised as in `torch.nn.Linear`.
    pub fn new(from: u64, to: u64) -> Self {
        Self {
            from,
            to,
            bias: true,
            init: Init::linear(from),
            over: Channels::Last,
            side_in_timm: None,
        }
    }
}

impl PositionEmbedding {
    /// Vectors for the images that the network is designed for.
    pub fn tokens(&self) -> u64 {
        self.prefix + self.grid * self.grid
    }
}

impl Conv2d {
    /// Dense, without bias, padded by half its side to preserve the size, and initialised as in torchvision.
    pub fn new(from: u64, to: u64, side: u64) -> Self {
        Self::rectangular(from, to, [side; 2])
    }

    /// The same with a kernel of this height and width.
    pub fn rectangular(from: u64, to: u64, kernel: [u64; 2]) -> Self {
        Self {
            from,
            to,
            kernel,
            stride: 1,
            padding: Padding::Each(kernel.map(|length| length / 2)),
            dilation: 1,
            groups: 1,
            bias: false,
            init: Init::kaiming_fan_out(to, kernel),
        }
    }

    pub fn strided(self, stride: u64) -> Self {
        Self { stride, ..self }
    }

    pub fn grouped(self, groups: u64) -> Self {
        Self { groups, ..self }
    }

    /// Padded by so much on each side.
    pub fn padded(self, places: u64) -> Self {
        let padding = Padding::Each([places; 2]);
        Self { padding, ..self }
    }

    /// Padded as in TensorFlow.
    pub fn same(self) -> Self {
        let padding = Padding::Same;
        Self { padding, ..self }
    }

    pub fn biased(self) -> Self {
        Self { bias: true, ..self }
    }

    /// The padding, where it is the same on all sides for inputs of any size.
    pub fn even_padding(&self) -> Option<[u64; 2]> {
        let is_odd = |length: u64| length % 2 == 1;
        match self.padding {
            Padding::Each(places) => Some(places),
            Padding::Same if self.stride == 1 && self.reach().into_iter().all(is_odd) => {
                Some(self.reach().map(|length| length / 2))
            }
            Padding::Same => None,
        }
    }

    /// Height and width of the kernel, dilation included.
    pub fn reach(&self) -> [u64; 2] {
        self.kernel.map(|length| (length - 1) * self.dilation + 1)
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
