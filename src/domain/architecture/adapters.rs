//! Which tensors of a network an adapter changes: the matrices of a low-rank one (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language
//! Models"), its normalisations, or its biases.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Architecture, Stage, layer::Op, network::NetworkDesign, tensors::TensorDesign};

/// Which matrices are adapted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LowRankTargets {
    /// Those of the attention: of queries, keys and values together, and of the projection after them.
    #[default]
    Attention,
    /// Also those of the layers between the attentions.
    Linear,
}

impl LowRankTargets {
    pub const ALL: [Self; 2] = [Self::Attention, Self::Linear];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Linear => "linear",
        }
    }
}

/// A weight `[to, from]` of a backbone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    pub stage: Stage,
    /// Its full name.
    pub name: String,
    pub to: u64,
    pub from: u64,
}

impl Architecture {
    /// The matrices of its backbone that are adapted, in order from the input; none where it has no attention.
    pub fn low_rank_matrices(self, targets: LowRankTargets) -> Vec<Matrix> {
        let design = self.design();
        let mut found = Vec::new();
        if !design.is_transformer() {
            return found;
        }
        design.each_of_backbone(|stage, op, name, tensor| {
            let is_adapted = match op {
                Op::Attention(_) | Op::WindowAttention(_) => true,
                Op::Linear(_) => targets == LowRankTargets::Linear,
                _ => false,
            };
            if is_adapted
                && tensor.is_matrix()
                && let [to, from] = tensor.shape[..]
            {
                found.push(Matrix {
                    stage,
                    name,
                    to,
                    from,
                });
            }
        });
        found
    }

    /// Names of the weights and biases of its normalisations.
    pub fn norm_parameters(self) -> BTreeSet<String> {
        self.names_of(|op, tensor| matches!(op, Op::BatchNorm2d(_) | Op::LayerNorm(_)) && tensor.learns())
    }

    /// Names of the biases of its backbone, also of those of its normalisations.
    pub fn biases(self) -> BTreeSet<String> {
        self.names_of(|_, tensor| tensor.learns() && tensor.shape.len() == 1 && tensor.name.ends_with("bias"))
    }

    fn names_of(self, is_meant: impl Fn(&Op, &TensorDesign) -> bool) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.design().each_of_backbone(|_, op, name, tensor| {
            if is_meant(op, &tensor) {
                names.insert(name);
            }
        });
        names
    }
}

impl NetworkDesign {
    /// Calls `each` with every tensor of the backbone: its stage, its layer, and its full name.
    fn each_of_backbone(&self, mut each: impl FnMut(Stage, &Op, String, TensorDesign)) {
        let last = self.last_stage();
        let stages = self.stages.iter().map(|(stage, layers)| (*stage, layers));
        for (stage, layers) in stages.chain([(last, &self.pooling)]) {
            for layer in layers {
                layer.each_tensor_of("", &mut |op, name, tensor| each(stage, op, name, tensor));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Architecture {
        let found = Architecture::names().into_iter().find(|(own, _)| *own == name);
        found.unwrap_or_else(|| panic!("there is no {name}")).1
    }

    #[test]
    fn a_transformer_has_two_in_each_attention() {
        for (name, blocks, first, second) in [
            (
                "vit_tiny_patch16_224",
                12,
                "blocks.0.attn.qkv.weight",
                "blocks.0.attn.proj.weight",
            ),
            (
                "vit_b_16",
                12,
                "encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
                "encoder.layers.encoder_layer_0.self_attention.out_proj.weight",
            ),
            (
                "swin_t",
                12,
                "features.1.0.attn.qkv.weight",
                "features.1.0.attn.proj.weight",
            ),
        ] {
            let architecture = named(name);
            let attention = architecture.low_rank_matrices(LowRankTargets::Attention);
            assert_eq!(attention.len(), 2 * blocks, "{name}");
            assert_eq!([&attention[0].name, &attention[1].name], [first, second]);
            assert_eq!(attention[0].to, 3 * attention[0].from);
            // Two of each MLP; Swin's merging layers besides.
            let linear = architecture.low_rank_matrices(LowRankTargets::Linear);
            let merging = if name == "swin_t" { 3 } else { 0 };
            assert_eq!(linear.len(), 4 * blocks + merging, "{name}");
            // Names of tensors that are there.
            let tensors = architecture.design().tensors(2);
            for matrix in linear {
                let (stage, _, tensor) = tensors.iter().find(|(_, name, _)| *name == matrix.name).unwrap();
                assert_eq!(
                    (*stage, &tensor.shape),
                    (Some(matrix.stage), &vec![matrix.to, matrix.from])
                );
            }
        }
    }

    #[test]
    fn normalisations_and_biases_are_found_by_their_layers() {
        let resnet = named("resnet18");
        // 20 BatchNorms; its convolutions have no biases.
        assert_eq!((resnet.norm_parameters().len(), resnet.biases().len()), (40, 20));
        assert!(resnet.norm_parameters().contains("layer4.1.bn2.weight"));
        assert!(!resnet.biases().contains("fc.bias"), "the head is not adapted");
        let vit = named("vit_tiny_patch16_224");
        // Two in each block and the last one.
        assert_eq!(vit.norm_parameters().len(), 2 * (2 * 12 + 1));
        // Two of the attention and two of the MLP besides, and that of the patches.
        assert_eq!(vit.biases().len(), (2 * 12 + 1) + 4 * 12 + 1);
        assert!(vit.biases().contains("blocks.0.attn.qkv.bias"));
        let swin = named("swin_t");
        assert!(swin.biases().iter().all(|name| !name.contains("bias_table")));
    }

    #[test]
    fn a_convolutional_network_has_none() {
        for name in ["resnet18", "convnext_tiny"] {
            assert!(
                named(name).low_rank_matrices(LowRankTargets::Linear).is_empty(),
                "{name}"
            );
        }
    }
}
