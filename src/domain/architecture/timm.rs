//! Networks as timm has them: the same layers in the same order, under timm's names. So the tensors of one description are those of the
//! other, place by place; a few have another shape with the same numbers in the same order.
//!
//! The second description serves names and shapes; it is never computed with.

use super::{
    Architecture,
    layer::{AttentionNames, Conv2d, Layer, Op},
    network::{InTimm, NetworkDesign},
    shape::Shape,
    tensors::TensorDesign,
};

/// A tensor of ours, and the same one in timm.
#[derive(Clone, Debug, PartialEq)]
pub struct Twin {
    /// Its full name here.
    pub name: String,
    pub tensor: TensorDesign,
    /// Its full name in timm.
    pub in_timm: String,
    pub shape_in_timm: Vec<u64>,
}

impl Architecture {
    /// Its weights under both names; none where timm does not have it, or has it under the same names.
    pub fn twins(self, classes: u64) -> Option<Vec<Twin>> {
        let design = self.design();
        let theirs = design.as_in_timm()?.tensors(classes);
        let weights = |(_, _, tensor): &(_, _, TensorDesign)| !tensor.is_computed();
        let pairs = design.tensors(classes).into_iter().filter(weights).zip(theirs);
        let twin = |((_, name, tensor), (_, in_timm, theirs)): ((_, _, _), (_, _, TensorDesign))| Twin {
            name,
            tensor,
            in_timm,
            shape_in_timm: theirs.shape,
        };
        Some(pairs.map(twin).collect())
    }

    /// timm's name of its head's layer, and of its first convolution.
    pub fn ends_in_timm(self) -> [String; 2] {
        let design = self.design();
        let theirs = design.as_in_timm();
        let theirs = theirs.as_ref().unwrap_or(design);
        let mut first = None;
        theirs.follow(design.native_size, |layer, name, _| {
            if let Op::Conv2d(_) = layer.op {
                first.get_or_insert(name);
            }
        });
        [theirs.head.to_owned(), first.unwrap_or_default()]
    }

    /// Whether timm's network computes the same for images of this size. Linear layers that are convolutions there see only a part of a map
    /// that is larger than they are, and windows that do not cover a map are padded otherwise.
    pub fn is_same_in_timm(self, side: u32) -> bool {
        let mut is_same = true;
        let design = self.design();
        design.follow(side, |layer, _, input| {
            let Shape::Map { height, width, .. } = input else {
                return;
            };
            is_same &= match layer.op {
                Op::AdaptiveAvgPool2d { side } => side == 1 || height <= side,
                Op::WindowAttention(attention) => attention.padded([height, width]) == [height, width],
                _ => true,
            };
        });
        is_same
    }

    /// Whether timm's network is built for images of one size, which its configuration then says: all transformers. Without it timm builds them
    /// for 224 pixels.
    pub fn has_one_size_in_timm(self) -> bool {
        self.design().is_transformer()
    }

    /// The epsilons of its BatchNorms here and in timm, where they differ.
    pub fn epsilons(self) -> Option<[f64; 2]> {
        let design = self.design();
        let InTimm::Renamed {
            epsilon: Some(theirs),
            ..
        } = design.in_timm
        else {
            return None;
        };
        let mut ours = None;
        design.follow(design.native_size, |layer, _, _| {
            if let Op::BatchNorm2d(norm) = layer.op {
                ours = Some(norm.epsilon);
            }
        });
        Some([ours?, theirs])
    }
}

impl NetworkDesign {
    /// None where timm does not have it, or has it as it is.
    pub fn as_in_timm(&self) -> Option<NetworkDesign> {
        let renamed = |layers: &Vec<Layer>| layers.iter().map(Layer::as_in_timm).collect();
        match self.in_timm {
            InTimm::No | InTimm::Same => None,
            InTimm::Renamed { head, .. } => Some(NetworkDesign {
                stages: (self.stages.iter())
                    .map(|(stage, layers)| (*stage, renamed(layers)))
                    .collect(),
                pooling: renamed(&self.pooling),
                head,
                in_timm: InTimm::Same,
                ..*self
            }),
        }
    }
}

impl Layer {
    fn as_in_timm(&self) -> Layer {
        let renamed = |layers: &Vec<Layer>| layers.iter().map(Layer::as_in_timm).collect();
        let op = match &self.op {
            Op::Sequence(layers) => Op::Sequence(renamed(layers)),
            Op::Sum(layers) => Op::Sum(renamed(layers)),
            Op::Concat(layers) => Op::Concat(renamed(layers)),
            Op::Product(layers) => Op::Product(renamed(layers)),
            Op::Attention(attention) => {
                let mut attention = *attention;
                attention.names = AttentionNames::Timm;
                Op::Attention(attention)
            }
            Op::WindowAttention(attention) => {
                let mut attention = *attention;
                attention.has_positions = false;
                Op::WindowAttention(attention)
            }
            Op::LayerScale(scale) => {
                let mut scale = *scale;
                scale.is_map = false;
                Op::LayerScale(scale)
            }
            Op::Linear(linear) => match linear.side_in_timm {
                None => self.op.clone(),
                Some(side) => {
                    let conv = Conv2d::new(linear.from / (side * side), linear.to, side);
                    Op::Conv2d(if linear.bias { conv.biased() } else { conv })
                }
            },
            other => other.clone(),
        };
        Layer::new(self.name_in_timm.as_ref().unwrap_or(&self.name), op)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use serde::Deserialize;

    use super::*;
    use crate::files::digest;

    #[derive(Deserialize)]
    struct Families {
        networks: BTreeMap<String, Network>,
    }

    #[derive(Deserialize)]
    struct Network {
        in_timm: Option<Golden>,
    }

    /// What timm's network was given and computed the same with, see `scripts/parity-families`.
    #[derive(Deserialize)]
    struct Golden {
        name: String,
        /// SHA-256 of the lines `our name, timm's name, timm's shape`, sorted.
        twins_sha256: String,
    }

    #[test]
    fn transformers_are_built_for_images_of_one_size() {
        let names = Architecture::names();
        let has_one_size = |name: &str| {
            let found = names.iter().find(|(own, _)| *own == name);
            found.unwrap().1.has_one_size_in_timm()
        };
        for name in [
            "swin_t",
            "vit_b_32",
            "vit_small_patch14_reg4_dinov2",
            "vit_small_patch16_dinov3",
        ] {
            assert!(has_one_size(name), "{name}");
        }
        for name in ["resnet18", "convnext_tiny", "efficientnet_b0"] {
            assert!(!has_one_size(name), "{name}");
        }
    }

    #[test]
    fn timm_computes_the_same_with_the_tensors_under_these_names() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families.json");
        let families: Families = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for architecture in Architecture::ALL {
            let golden = families.networks.get(architecture.as_str());
            let Some(golden) = golden.and_then(|network| network.in_timm.as_ref()) else {
                assert_eq!(architecture.twins(10), None, "{architecture}");
                continue;
            };
            assert_eq!(architecture.name_in_timm(), Some(golden.name.as_str()));
            let same = || {
                let tensors = architecture.design().tensors(10).into_iter();
                let same = tensors.map(|(_, name, tensor)| Twin {
                    in_timm: name.clone(),
                    shape_in_timm: tensor.shape.clone(),
                    name,
                    tensor,
                });
                same.collect()
            };
            let twins: Vec<Twin> = architecture.twins(10).unwrap_or_else(same);
            let line = |twin: Twin| format!("{} {} {:?}\n", twin.name, twin.in_timm, twin.shape_in_timm);
            let mut lines: Vec<String> = twins.into_iter().map(line).collect();
            lines.sort();
            let ours = digest::of_bytes(lines.concat().as_bytes());
            assert_eq!(ours, golden.twins_sha256, "{architecture}: {lines:#?}");
        }
    }

    #[test]
    fn only_vgg_sees_less_of_large_images_in_timm() {
        for architecture in Architecture::ALL {
            let native = architecture.native_size();
            assert!(architecture.is_same_in_timm(native), "{architecture}");
            let is_vgg = architecture.as_str().starts_with("vgg");
            assert_eq!(
                architecture.is_same_in_timm(2 * native),
                !is_vgg,
                "{architecture}"
            );
        }
    }

    #[test]
    fn a_tensor_has_one_name_and_as_many_numbers_in_timm() {
        for architecture in Architecture::ALL {
            let Some(twins) = architecture.twins(10) else {
                continue;
            };
            let tensors = architecture.design().tensors(10).into_iter();
            let weights = tensors.filter(|(_, _, tensor)| !tensor.is_computed());
            assert_eq!(twins.len(), weights.count());
            let mut names: Vec<_> = twins.iter().map(|twin| &twin.in_timm).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), twins.len(), "{architecture}");
            for twin in &twins {
                let theirs: u64 = twin.shape_in_timm.iter().product();
                assert_eq!(theirs, twin.tensor.numbers(), "{architecture}: {}", twin.name);
            }
        }
    }
}
