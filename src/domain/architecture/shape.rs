//! Shapes of activations.

use super::layer::{Conv2d, Layer, Op, Padding, Pool};

/// The shape of one image's activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[C, H, W]`
    Map { channels: u64, height: u64, width: u64 },
    /// `[T, C]`
    Tokens { count: u64, features: u64 },
    /// `[C]`
    Vector { features: u64 },
}

impl Shape {
    /// Of an image of `side × side` pixels.
    pub fn image(side: u64) -> Self {
        Shape::Map {
            channels: 3,
            height: side,
            width: side,
        }
    }

    /// The number of channels.
    pub fn channels(self) -> u64 {
        match self {
            Shape::Map { channels, .. } => channels,
            Shape::Tokens { features, .. } | Shape::Vector { features } => features,
        }
    }

    /// Positions or tokens; 1 for a vector.
    pub fn places(self) -> u64 {
        match self {
            Shape::Map { height, width, .. } => height * width,
            Shape::Tokens { count, .. } => count,
            Shape::Vector { .. } => 1,
        }
    }

    /// Of a sum or product of several, computed from `input`: a single value per channel is broadcast over all positions.
    pub fn largest(input: Self, several: &[Self]) -> Self {
        let largest = several.iter().copied().max_by_key(|shape| shape.places());
        largest.unwrap_or(input)
    }

    /// Of several concatenated along the channels, computed from `input`.
    pub fn stacked(input: Self, several: &[Self]) -> Self {
        let channels = several.iter().map(|shape| shape.channels()).sum();
        Self::largest(input, several).with_channels(channels)
    }

    fn with_channels(self, channels: u64) -> Self {
        match self {
            Shape::Map { height, width, .. } => Shape::Map {
                channels,
                height,
                width,
            },
            Shape::Tokens { count, .. } => Shape::Tokens {
                count,
                features: channels,
            },
            Shape::Vector { .. } => Shape::Vector { features: channels },
        }
    }

    /// The same with another height and width; tokens and vectors have none.
    fn resized(self, size: impl Fn([u64; 2]) -> [u64; 2]) -> Self {
        match self {
            Shape::Map {
                channels,
                height,
                width,
            } => {
                let [height, width] = size([height, width]);
                Shape::Map {
                    channels,
                    height,
                    width,
                }
            }
            other => other,
        }
    }
}

impl Layer {
    /// The shape of its output. Calls `each` with every layer in and below it that is no composition, its full name, and the shape of its
    /// input.
    pub fn follow(&self, prefix: &str, input: Shape, each: &mut impl FnMut(&Layer, String, Shape)) -> Shape {
        let Some(layers) = self.op.layers() else {
            each(self, super::layer::joined(prefix, &self.name), input);
            return self.op.output(input);
        };
        let prefix = self.prefix(prefix);
        if let Op::Sequence(_) = self.op {
            return layers
                .iter()
                .fold(input, |shape, layer| layer.follow(&prefix, shape, each));
        }
        let outputs: Vec<Shape> = layers
            .iter()
            .map(|layer| layer.follow(&prefix, input, each))
            .collect();
        match self.op {
            Op::Concat(_) => Shape::stacked(input, &outputs),
            _ => Shape::largest(input, &outputs),
        }
    }
}

impl Op {
    /// The output shape of a layer that is no composition.
    pub fn output(&self, input: Shape) -> Shape {
        match *self {
            Op::Conv2d(conv) => input
                .resized(|size| conv.output_size(size))
                .with_channels(conv.to),
            Op::Linear(linear) => input.with_channels(linear.to),
            Op::Neighbours(neighbours) => input.with_channels(neighbours.classes),
            Op::MaxPool2d(pool) | Op::AvgPool2d(pool) => {
                input.resized(|size| size.map(|length| pool.length(length)))
            }
            Op::AdaptiveAvgPool2d { side } => input.resized(|_| [side; 2]),
            Op::Flatten => Shape::Vector {
                features: input.channels() * input.places(),
            },
            Op::ToTokens => Shape::Tokens {
                count: input.places(),
                features: input.channels(),
            },
            Op::LearnedTokens { count, features } => Shape::Tokens {
                count: input.places() + count,
                features,
            },
            Op::Narrow { count, .. } => input.with_channels(count),
            Op::FirstToken | Op::MeanToken { .. } => Shape::Vector {
                features: input.channels(),
            },
            Op::MergePatches => input
                .resized(|size| size.map(|length| length.div_ceil(2)))
                .with_channels(4 * input.channels()),
            Op::Subsample { stride } => input.resized(|size| size.map(|length| length.div_ceil(stride))),
            Op::PadChannels { channels } => input.with_channels(input.channels() + 2 * channels),
            Op::BatchNorm2d(_)
            | Op::LayerNorm(_)
            | Op::Attention(_)
            | Op::WindowAttention(_)
            | Op::PositionEmbedding(_)
            | Op::LayerScale(_)
            | Op::ChannelShuffle { .. }
            | Op::Activation(_)
            | Op::Normalise
            | Op::Dropout { .. }
            | Op::StochasticDepth { .. }
            | Op::Sequence(_)
            | Op::Sum(_)
            | Op::Concat(_)
            | Op::Product(_) => input,
        }
    }

    /// Multiply-adds for one image, in convolutions, linear layers and attention, which is what torchvision publishes as FLOPS.
    pub fn multiply_adds(&self, input: Shape) -> u64 {
        match *self {
            Op::Conv2d(conv) => conv.weights() * self.output(input).places(),
            Op::Linear(linear) => linear.from * linear.to * input.places(),
            Op::Neighbours(neighbours) => neighbours.images * neighbours.features,
            Op::Attention(attention) => {
                let (features, tokens) = (attention.features, input.places());
                4 * features * features * tokens + 2 * tokens * tokens * features
            }
            Op::WindowAttention(attention) => {
                let Shape::Map { height, width, .. } = input else {
                    return 0;
                };
                let positions: u64 = attention.padded([height, width]).iter().product();
                let features = attention.features;
                (4 * features * features + 2 * attention.places() * features) * positions
            }
            _ => 0,
        }
    }
}

impl Conv2d {
    fn weights(&self) -> u64 {
        self.to * (self.from / self.groups) * self.kernel.iter().product::<u64>()
    }

    /// Padding above and below, then left and right, for an input of this height and width.
    pub fn padding_of(&self, size: [u64; 2]) -> [[u64; 2]; 2] {
        std::array::from_fn(|axis| match self.padding {
            Padding::Each(places) => [places[axis]; 2],
            Padding::Same => {
                let (length, reach) = (size[axis], self.reach()[axis]);
                let seen = (length.div_ceil(self.stride) - 1) * self.stride + reach;
                let all = seen.saturating_sub(length);
                [all / 2, all - all / 2]
            }
        })
    }

    /// Height and width of the output for an input of these.
    pub fn output_size(&self, size: [u64; 2]) -> [u64; 2] {
        let padding = self.padding_of(size);
        std::array::from_fn(|axis| {
            let padded = size[axis] + padding[axis].iter().sum::<u64>();
            padded.saturating_sub(self.reach()[axis]) / self.stride + 1
        })
    }
}

impl Pool {
    /// Output length for this input length.
    pub fn length(&self, length: u64) -> u64 {
        let room = (length + 2 * self.padding).saturating_sub(self.side);
        if !self.ceil {
            return room / self.stride + 1;
        }
        let places = room.div_ceil(self.stride) + 1;
        // As in torch: the last window starts in the input or in the padding before it.
        let beyond = (places - 1) * self.stride >= length + self.padding;
        places - u64::from(beyond)
    }
}
