//! The head of a network: what makes logits of a feature vector. Its tensors lie below the name that the network's own head has.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    init::Init,
    layer::{Activation, Conv2d, Layer, Linear, Neighbours, Op},
    network::NetworkDesign,
};

/// The kind of a classification head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// One linear layer. In SqueezeNets at each position of the last map, followed by a ReLU and the mean over all positions, as published.
    #[default]
    Linear,
    /// A linear layer, a ReLU, and another linear layer.
    Mlp,
    /// The cosine to the mean feature vector of each class.
    Prototype,
    /// The classes of the most similar training images.
    Knn,
}

impl HeadKind {
    pub const ALL: [HeadKind; 4] = [
        HeadKind::Linear,
        HeadKind::Mlp,
        HeadKind::Prototype,
        HeadKind::Knn,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            HeadKind::Linear => "linear",
            HeadKind::Mlp => "mlp",
            HeadKind::Prototype => "prototype",
            HeadKind::Knn => "knn",
        }
    }

    /// Whether it is trained; otherwise it is computed from the feature vectors at once.
    pub fn learns(self) -> bool {
        matches!(self, HeadKind::Linear | HeadKind::Mlp)
    }
}

/// A head without its number of classes, or that there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Head {
    #[default]
    Linear,
    Mlp {
        /// Outputs of its first layer.
        hidden: u64,
    },
    Prototype,
    Knn {
        /// Training images whose feature vectors the model has.
        images: u64,
        /// How many of them vote.
        k: u64,
        /// A vote counts as much as the exponential of the cosine divided by this.
        temperature: f64,
    },
    /// The network ends with its feature vectors: a backbone that other trainings begin with.
    None,
}

impl Head {
    /// Names of the two layers of an MLP, below the head.
    pub const HIDDEN: &str = "hidden";
    pub const OUTPUT: &str = "output";
    /// Name of the layer of a prototype head's mean vectors, below the head.
    pub const PROTOTYPES: &str = "prototypes";
    /// Name of the layer of a nearest neighbour head's images, below the head.
    pub const NEIGHBOURS: &str = "neighbours";

    /// None where there is no head.
    pub fn kind(self) -> Option<HeadKind> {
        match self {
            Head::Linear => Some(HeadKind::Linear),
            Head::Mlp { .. } => Some(HeadKind::Mlp),
            Head::Prototype => Some(HeadKind::Prototype),
            Head::Knn { .. } => Some(HeadKind::Knn),
            Head::None => None,
        }
    }

    /// Whether it is the head that networks are published with: `linear`.
    pub fn is_linear(&self) -> bool {
        *self == Head::Linear
    }

    /// Its layers, from `features` numbers to one for each of `classes`, under a name of the network's.
    fn layer(self, name: &str, features: u64, classes: u64) -> Layer {
        let linear = |name: &str, from: u64, to: u64, bias: bool| {
            let linear = Linear {
                bias,
                ..Linear::new(from, to)
            };
            Layer::new(name, Op::Linear(linear))
        };
        let normalise = || Layer::new("normalise", Op::Normalise);
        match self {
            Head::Linear => linear(name, features, classes, true),
            // Not by numbers: in weights of other programs those are layers with any activation in between.
            Head::Mlp { hidden } => {
                let layers = vec![
                    linear(Self::HIDDEN, features, hidden, true),
                    Layer::activation("relu", Activation::Relu),
                    linear(Self::OUTPUT, hidden, classes, true),
                ];
                Layer::sequence(name, layers)
            }
            Head::Prototype => {
                let prototypes = linear(Self::PROTOTYPES, features, classes, false);
                Layer::sequence(name, vec![normalise(), prototypes])
            }
            Head::Knn {
                images,
                k,
                temperature,
            } => {
                let neighbours = Neighbours {
                    images,
                    features,
                    classes,
                    k,
                    temperature,
                };
                let neighbours = Layer::new(Self::NEIGHBOURS, Op::Neighbours(neighbours));
                Layer::sequence(name, vec![normalise(), neighbours])
            }
            Head::None => Layer::sequence(name, Vec::new()),
        }
    }

    /// The same for a map of `features` channels: the published head is a convolution, those of other kinds get the mean.
    fn layer_of_map(self, name: &str, features: u64, classes: u64) -> Layer {
        let pooling = || {
            let pooling = Layer::new("avgpool", Op::AdaptiveAvgPool2d { side: 1 });
            vec![pooling, Layer::new("flat", Op::Flatten)]
        };
        if !self.is_linear() {
            let after = self.layer(name, features, classes);
            return Layer::sequence("", [pooling(), vec![after]].concat());
        }
        let design = Conv2d {
            bias: true,
            init: MAP_INIT,
            ..Conv2d::new(features, classes, 1)
        };
        let layers = vec![
            Layer::new(name, Op::Conv2d(design)),
            Layer::activation("relu", Activation::Relu),
        ];
        Layer::sequence("", [layers, pooling()].concat())
    }
}

/// As torchvision initialises the last convolution of a SqueezeNet.
const MAP_INIT: Init = Init::Normal(0.01);

/// What a network ends with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outputs {
    pub head: Head,
    /// 0 where there is no head.
    pub classes: usize,
}

impl Outputs {
    /// Feature vectors.
    pub const FEATURES: Outputs = Outputs {
        head: Head::None,
        classes: 0,
    };
}

/// Of the head that networks are published with.
impl From<usize> for Outputs {
    fn from(classes: usize) -> Self {
        let head = Head::Linear;
        Self { head, classes }
    }
}

impl NetworkDesign {
    /// The layers that map features to logits.
    pub fn head_of(&self, head: Head, classes: u64) -> Layer {
        // A name with dots is that of a layer in a sequence.
        let mut names = self.head.rsplit('.');
        let name = names.next().unwrap_or_default();
        let last = match self.has_map_features() {
            false => head.layer(name, self.features(), classes),
            true => head.layer_of_map(name, self.features(), classes),
        };
        names.fold(last, |head, name| Layer::sequence(name, vec![head]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::architecture::Architecture;

    fn names(head: Head) -> Vec<(String, Vec<u64>)> {
        let mut names = Vec::new();
        let design = Architecture::Resnet18.design();
        design
            .head_of(head, 3)
            .each_tensor("", &mut |name, tensor| names.push((name, tensor.shape)));
        names
    }

    #[test]
    fn each_kind_has_tensors_below_the_networks_own_head() {
        let named = |names: &[(&str, &[u64])]| -> Vec<(String, Vec<u64>)> {
            let owned = |(name, shape): &(&str, &[u64])| (name.to_string(), shape.to_vec());
            names.iter().map(owned).collect()
        };
        assert_eq!(
            names(Head::Linear),
            named(&[("fc.weight", &[3, 512]), ("fc.bias", &[3])])
        );
        assert_eq!(
            names(Head::Mlp { hidden: 16 }),
            named(&[
                ("fc.hidden.weight", &[16, 512]),
                ("fc.hidden.bias", &[16]),
                ("fc.output.weight", &[3, 16]),
                ("fc.output.bias", &[3]),
            ])
        );
        assert_eq!(
            names(Head::Prototype),
            named(&[("fc.prototypes.weight", &[3, 512])])
        );
        let knn = Head::Knn {
            images: 20,
            k: 5,
            temperature: 0.07,
        };
        assert_eq!(
            names(knn),
            named(&[
                ("fc.neighbours.bank", &[20, 512]),
                ("fc.neighbours.labels", &[20])
            ])
        );
        assert_eq!(names(Head::None), named(&[]));
    }

    #[test]
    fn a_head_of_a_map_has_the_same_names_and_a_kernel() {
        for (kind, weight) in [
            (Head::Linear, ("classifier.1.weight", vec![3, 512, 1, 1])),
            (
                Head::Mlp { hidden: 16 },
                ("classifier.1.hidden.weight", vec![16, 512]),
            ),
            (Head::Prototype, ("classifier.1.prototypes.weight", vec![3, 512])),
        ] {
            let mut tensors = Vec::new();
            let layer = Architecture::Squeezenet1x1.design().head_of(kind, 3);
            layer.each_tensor("", &mut |name, tensor| tensors.push((name, tensor.shape)));
            let (name, shape) = weight;
            assert_eq!(tensors[0], (name.to_owned(), shape));
        }
    }

    #[test]
    fn a_head_says_its_kind_in_json() {
        for kind in HeadKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        let json = serde_json::to_value(Head::Mlp { hidden: 8 }).unwrap();
        assert_eq!(json, serde_json::json!({"kind": "mlp", "hidden": 8}));
        assert_eq!(
            serde_json::from_value::<Head>(json).unwrap(),
            Head::Mlp { hidden: 8 }
        );
        assert_eq!(
            serde_json::to_value(Head::None).unwrap(),
            serde_json::json!({"kind": "none"})
        );
    }
}
