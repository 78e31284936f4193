//! The tensors of layers: their names, their shapes, and how they are initialised.

use super::{
    init::Init,
    layer::{AttentionNames, Layer, Op, joined},
    windows::WindowAttention,
};

/// A tensor of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorDesign {
    /// Below its layer; empty where the tensor has the name of its layer.
    pub name: &'static str,
    pub shape: Vec<u64>,
    pub role: Role,
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// Trainable; 32-bit floats with this initialisation.
    Parameter(Init),
    /// A running statistic, or what was computed once and is not trained; 32-bit floats with this initial value.
    Statistic(Init),
    /// Counts the batches: one 64-bit integer. Nothing here reads it; other programs do.
    Counter,
    /// The places of the distances within a window in the table of its biases: 64-bit integers that only depend on its side and are no
    /// weights. torchvision stores them, timm does not.
    RelativePositions { window: u64 },
}

impl TensorDesign {
    pub fn numbers(&self) -> u64 {
        self.shape.iter().product()
    }

    pub fn learns(&self) -> bool {
        matches!(self.role, Role::Parameter(_))
    }

    /// Whether it is a weight `[to, from]`.
    pub fn is_matrix(&self) -> bool {
        self.learns() && self.shape.len() == 2 && self.name.ends_with("weight")
    }

    /// Whether it is no weight: other programs may not store it.
    pub fn is_computed(&self) -> bool {
        matches!(self.role, Role::RelativePositions { .. })
    }
}

impl AttentionNames {
    /// Weight and bias for queries, keys and values, then those of the projection after them.
    pub fn all(self) -> [&'static str; 4] {
        match self {
            Self::Timm => ["qkv.weight", "qkv.bias", "proj.weight", "proj.bias"],
            Self::Torch => [
                "in_proj_weight",
                "in_proj_bias",
                "out_proj.weight",
                "out_proj.bias",
            ],
        }
    }
}

impl Op {
    /// Its own tensors, in torch's order; a composition has none.
    pub fn tensors(&self) -> Vec<TensorDesign> {
        let parameter = |name, shape: &[u64], init| TensorDesign {
            name,
            shape: shape.to_vec(),
            role: Role::Parameter(init),
        };
        match *self {
            Op::Conv2d(conv) => {
                let inputs = conv.from / conv.groups;
                let [height, width] = conv.kernel;
                let mut tensors = vec![parameter("weight", &[conv.to, inputs, height, width], conv.init)];
                if conv.bias {
                    tensors.push(parameter("bias", &[conv.to], Init::Zeros));
                }
                tensors
            }
            Op::BatchNorm2d(norm) => {
                let channels = [norm.channels];
                let statistic = |name, init| TensorDesign {
                    name,
                    shape: channels.to_vec(),
                    role: Role::Statistic(init),
                };
                vec![
                    parameter("weight", &channels, Init::Ones),
                    parameter("bias", &channels, Init::Zeros),
                    statistic("running_mean", Init::Zeros),
                    statistic("running_var", Init::Ones),
                    TensorDesign {
                        name: "num_batches_tracked",
                        shape: Vec::new(),
                        role: Role::Counter,
                    },
                ]
            }
            Op::LayerNorm(norm) => vec![
                parameter("weight", &[norm.features], Init::Ones),
                parameter("bias", &[norm.features], Init::Zeros),
            ],
            Op::Linear(linear) => {
                let mut tensors = vec![parameter("weight", &[linear.to, linear.from], linear.init)];
                if linear.bias {
                    let bias = match linear.init {
                        // The same for weights and biases, as in torch.nn.Linear.
                        Init::Uniform(_) => linear.init,
                        _ => Init::Zeros,
                    };
                    tensors.push(parameter("bias", &[linear.to], bias));
                }
                tensors
            }
            Op::Attention(attention) => {
                let features = attention.features;
                let [weight, bias, out_weight, out_bias] = attention.names.all();
                let mut tensors = vec![parameter(weight, &[3 * features, features], attention.init)];
                if attention.bias {
                    tensors.push(parameter(bias, &[3 * features], Init::Zeros));
                }
                tensors.push(parameter(out_weight, &[features, features], attention.init));
                tensors.push(parameter(out_bias, &[features], Init::Zeros));
                tensors
            }
            Op::WindowAttention(attention) => window_tensors(&attention),
            Op::Neighbours(neighbours) => {
                let stored = |name, shape: &[u64]| TensorDesign {
                    name,
                    shape: shape.to_vec(),
                    role: Role::Statistic(Init::Zeros),
                };
                vec![
                    stored("bank", &[neighbours.images, neighbours.features]),
                    stored("labels", &[neighbours.images]),
                ]
            }
            Op::LearnedTokens { count, features } => {
                vec![parameter("", &[1, count, features], Init::Normal(1e-6))]
            }
            Op::PositionEmbedding(positions) => {
                let shape = [1, positions.tokens(), positions.features];
                vec![parameter("", &shape, Init::Normal(0.02))]
            }
            Op::LayerScale(scale) => {
                let shape: &[u64] = match scale.is_map {
                    true => &[scale.features, 1, 1],
                    false => &[scale.features],
                };
                vec![parameter("", shape, Init::Constant(scale.initial))]
            }
            Op::Activation(_)
            | Op::MaxPool2d(_)
            | Op::AvgPool2d(_)
            | Op::AdaptiveAvgPool2d { .. }
            | Op::Flatten
            | Op::ToTokens
            | Op::FirstToken
            | Op::MeanToken { .. }
            | Op::Normalise
            | Op::MergePatches
            | Op::Subsample { .. }
            | Op::Narrow { .. }
            | Op::ChannelShuffle { .. }
            | Op::PadChannels { .. }
            | Op::Dropout { .. }
            | Op::StochasticDepth { .. }
            | Op::Sequence(_)
            | Op::Sum(_)
            | Op::Concat(_)
            | Op::Product(_) => Vec::new(),
        }
    }

    /// The layers of a composition.
    pub fn layers(&self) -> Option<&[Layer]> {
        match self {
            Op::Sequence(layers) | Op::Sum(layers) | Op::Concat(layers) | Op::Product(layers) => Some(layers),
            _ => None,
        }
    }
}

fn window_tensors(attention: &WindowAttention) -> Vec<TensorDesign> {
    let (features, window) = (attention.features, attention.window);
    let distances = (2 * window - 1) * (2 * window - 1);
    let tensor = |name, shape: &[u64], role| TensorDesign {
        name,
        shape: shape.to_vec(),
        role,
    };
    let parameter = |name, shape: &[u64], init| tensor(name, shape, Role::Parameter(init));
    let table = parameter(
        "relative_position_bias_table",
        &[distances, attention.heads],
        Init::Normal(0.02),
    );
    let positions = tensor(
        "relative_position_index",
        &[attention.places() * attention.places()],
        Role::RelativePositions { window },
    );
    let positions = attention.has_positions.then_some(positions);
    let linear = [
        parameter("qkv.weight", &[3 * features, features], attention.init),
        parameter("qkv.bias", &[3 * features], Init::Zeros),
        parameter("proj.weight", &[features, features], attention.init),
        parameter("proj.bias", &[features], Init::Zeros),
    ];
    std::iter::once(table).chain(positions).chain(linear).collect()
}

impl Layer {
    /// The prefix of the names of a composition's layers, see [`Layer`].
    pub fn prefix(&self, prefix: &str) -> String {
        match self.op {
            Op::Sequence(_) => joined(prefix, &self.name),
            _ => prefix.to_owned(),
        }
    }

    /// Calls `each` with every tensor in and below it, and its full name.
    pub fn each_tensor(&self, prefix: &str, each: &mut impl FnMut(String, TensorDesign)) {
        self.each_tensor_of(prefix, &mut |_, name, tensor| each(name, tensor));
    }

    /// The same with what the tensor's layer does.
    pub fn each_tensor_of(&self, prefix: &str, each: &mut impl FnMut(&Op, String, TensorDesign)) {
        if let Some(layers) = self.op.layers() {
            let prefix = self.prefix(prefix);
            layers
                .iter()
                .for_each(|layer| layer.each_tensor_of(&prefix, each));
        }
        let layer = joined(prefix, &self.name);
        for tensor in self.op.tensors() {
            each(&self.op, joined(&layer, tensor.name), tensor);
        }
    }

    /// Whether there are any tensors in or below it.
    pub fn has_tensors(&self) -> bool {
        let mut found = false;
        self.each_tensor("", &mut |_, _| found = true);
        found
    }
}
