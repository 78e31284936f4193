//! Vision transformers (Dosovitskiy et al. 2021): with torchvision's names and timm's where torchvision has them, otherwise with timm's,
//! among them those of DINOv2 (Oquab et al. 2024; with registers: Darcet et al. 2024) and the image towers of CLIP (Radford et al. 2021).

use super::blocks::{conv, residual};
use crate::domain::architecture::{
    Stage,
    init::Init,
    layer::{
        Activation, Attention, AttentionNames, Channels, Conv2d, Layer, LayerNorm, LayerScale, Linear, Op,
        PositionEmbedding, Rotary,
    },
    network::{InTimm, NetworkDesign},
};

/// Width of the tokens, number of blocks, and number of heads.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    width: u64,
    blocks: u8,
    heads: u64,
}

const fn size(width: u64, blocks: u8, heads: u64) -> Size {
    Size { width, blocks, heads }
}

pub const TINY: Size = size(192, 12, 3);
pub const SMALL: Size = size(384, 12, 6);
pub const BASE: Size = size(768, 12, 12);
pub const LARGE: Size = size(1024, 24, 16);

/// How many times as wide the hidden layer of a block is.
const EXPANSION: u64 = 4;
const INIT: Init = Init::Normal(0.02);
/// Of DINOv3.
const REGISTERS: u64 = 4;

/// How transformers differ besides their size.
#[derive(Clone, Copy, Debug)]
struct Variant {
    size: Size,
    patch: u64,
    native_size: u32,
    names: AttentionNames,
    epsilon: f64,
    activation: Activation,
    /// Initial layer scale; none without.
    scale: Option<f64>,
    /// Tokens besides the class token and the patches; the class token then has no position.
    registers: u64,
    /// Whether tokens are normalised before the first block, and patches have no bias.
    norm_first: bool,
    /// With rotary embeddings in the place of learned positions, and the mean of all patches in that of the class token: DINOv3.
    rotary: bool,
    /// Whether the hidden layer of a block is gated (SwiGLU, Shazeer 2020).
    gated: bool,
}

impl Variant {
    const fn of(size: Size, patch: u64, native_size: u32, names: AttentionNames) -> Self {
        Variant {
            size,
            patch,
            native_size,
            names,
            epsilon: 1e-6,
            activation: Activation::Gelu,
            scale: None,
            registers: 0,
            norm_first: false,
            rotary: false,
            gated: false,
        }
    }
}

/// `vit_b_16` and its siblings.
pub fn torchvision(size: Size, patch: u64) -> NetworkDesign {
    design(Variant::of(size, patch, 224, AttentionNames::Torch))
}

/// `vit_small_patch16_224` and its siblings, and DeiT's networks without distillation (Touvron et al. 2021).
pub fn timm(size: Size, patch: u64) -> NetworkDesign {
    design(Variant::of(size, patch, 224, AttentionNames::Timm))
}

pub fn dinov2(size: Size, registers: u64) -> NetworkDesign {
    design(Variant {
        scale: Some(1e-5),
        registers,
        ..Variant::of(size, 14, 518, AttentionNames::Timm)
    })
}

/// DINOv3 (Siméoni et al. 2025), with the names of timm's `Eva`; `gated`: the "plus" network.
pub fn dinov3(size: Size, gated: bool) -> NetworkDesign {
    design(Variant {
        epsilon: 1e-5,
        scale: Some(1e-5),
        registers: REGISTERS,
        rotary: true,
        gated,
        ..Variant::of(size, 16, 256, AttentionNames::Timm)
    })
}

/// `quick`: with the approximation of GELU that OpenAI's weights were trained with.
pub fn clip(patch: u64, quick: bool) -> NetworkDesign {
    let activation = if quick {
        Activation::QuickGelu
    } else {
        Activation::Gelu
    };
    design(Variant {
        epsilon: 1e-5,
        activation,
        norm_first: true,
        ..Variant::of(BASE, patch, 224, AttentionNames::Timm)
    })
}

fn design(it: Variant) -> NetworkDesign {
    let is_torch = it.names == AttentionNames::Torch;
    let block = |number: u8| {
        let name = match it.names {
            AttentionNames::Torch => format!("encoder_layer_{number}"),
            AttentionNames::Timm => number.to_string(),
        };
        let blocks = vec![Layer::sequence(name, it.block()).in_timm(number.to_string())];
        let layers = match it.names {
            AttentionNames::Torch => {
                let layers = Layer::sequence("layers", blocks).in_timm("blocks");
                Layer::sequence("encoder", vec![layers]).in_timm("")
            }
            AttentionNames::Timm => Layer::sequence("blocks", blocks),
        };
        (Stage::block(number + 1), vec![layers])
    };
    let mut stages = vec![(Stage::STEM, it.stem())];
    stages.extend((0..it.size.blocks).map(block));
    let last = match is_torch {
        true => Layer::sequence("encoder", vec![it.norm("ln").in_timm("norm")]).in_timm(""),
        false => it.norm("norm"),
    };
    NetworkDesign {
        stages,
        pooling: vec![last, Layer::new("token", it.pooled())],
        head: if is_torch { "heads.head" } else { "head" },
        native_size: it.native_size,
        dropout: 0.0,
        in_timm: match is_torch {
            true => InTimm::renamed("head"),
            false => InTimm::Same,
        },
    }
}

impl Variant {
    /// Patches as tokens, after the class token and any registers, with their positions.
    fn stem(&self) -> Vec<Layer> {
        let width = self.size.width;
        let patches = Conv2d {
            bias: !self.norm_first,
            ..Conv2d::new(3, width, self.patch).strided(self.patch).padded(0)
        };
        let positions = Op::PositionEmbedding(PositionEmbedding {
            grid: u64::from(self.native_size) / self.patch,
            prefix: u64::from(self.registers == 0),
            features: width,
        });
        let tokens = |name: &str, count| {
            let features = width;
            Layer::new(name, Op::LearnedTokens { count, features })
        };
        let to_tokens = Layer::new("tokens", Op::ToTokens);
        if self.names == AttentionNames::Torch {
            let positions = Layer::new("pos_embedding", positions).in_timm("pos_embed");
            return vec![
                conv("conv_proj", patches).in_timm("patch_embed.proj"),
                to_tokens,
                tokens("class_token", 1).in_timm("cls_token"),
                Layer::sequence("encoder", vec![positions]).in_timm(""),
            ];
        }
        let embedding = Layer::sequence("patch_embed", vec![conv("proj", patches), to_tokens]);
        let positions = Layer::new("pos_embed", positions);
        let mut layers = match self.registers {
            count if self.rotary => vec![embedding, tokens("reg_token", count), tokens("cls_token", 1)],
            0 => vec![embedding, tokens("cls_token", 1), positions],
            count => vec![
                embedding,
                positions,
                tokens("reg_token", count),
                tokens("cls_token", 1),
            ],
        };
        if self.norm_first {
            layers.push(self.norm("norm_pre"));
        }
        layers
    }

    fn pooled(&self) -> Op {
        match self.rotary {
            true => Op::MeanToken {
                skipped: 1 + self.registers,
            },
            false => Op::FirstToken,
        }
    }

    fn block(&self) -> Vec<Layer> {
        let width = self.size.width;
        let is_torch = self.names == AttentionNames::Torch;
        let attention = Op::Attention(Attention {
            features: width,
            heads: self.size.heads,
            bias: !self.rotary,
            init: INIT,
            names: self.names,
            rotary: self.rotary.then_some(Rotary {
                prefix: 1 + self.registers,
                base: 100.0,
            }),
        });
        const IN_TIMM: [&str; 6] = ["norm1", "attn", "norm2", "fc1", "act", "fc2"];
        let names = match is_torch {
            true => ["ln_1", "self_attention", "ln_2", "0", "1", "3"],
            false => IN_TIMM,
        };
        let inner = EXPANSION * width;
        let mut mlp = match self.gated {
            false => vec![
                linear(names[3], width, inner).in_timm(IN_TIMM[3]),
                Layer::activation(names[4], self.activation),
            ],
            true => {
                let gate = vec![
                    linear("fc1_g", width, inner),
                    Layer::activation("act", Activation::Silu),
                ];
                let factors = vec![Layer::sequence("", gate), linear("fc1_x", width, inner)];
                vec![Layer::new("gated", Op::Product(factors))]
            }
        };
        mlp.push(linear(names[5], inner, width).in_timm(IN_TIMM[5]));
        let mut attended = vec![
            self.norm(names[0]).in_timm(IN_TIMM[0]),
            Layer::new(names[1], attention).in_timm(IN_TIMM[1]),
        ];
        let mut widened = vec![
            self.norm(names[2]).in_timm(IN_TIMM[2]),
            Layer::sequence("mlp", mlp),
        ];
        attended.extend(self.layer_scale(1));
        widened.extend(self.layer_scale(2));
        let added = |name: &str, layers| {
            let sum = residual(Layer::sequence("", layers), 0.0, Channels::Last);
            Layer::new(name, sum.op)
        };
        vec![added("add1", attended), added("add2", widened)]
    }

    fn layer_scale(&self, number: u8) -> Option<Layer> {
        let scale = LayerScale {
            features: self.size.width,
            initial: self.scale?,
            over: Channels::Last,
            is_map: false,
        };
        let gamma = |name: String| Layer::new(name, Op::LayerScale(scale));
        Some(match self.rotary {
            true => gamma(format!("gamma_{number}")),
            false => Layer::sequence(format!("ls{number}"), vec![gamma("gamma".to_owned())]),
        })
    }

    fn norm(&self, name: &str) -> Layer {
        let norm = LayerNorm {
            features: self.size.width,
            epsilon: self.epsilon,
            over: Channels::Last,
        };
        Layer::new(name, Op::LayerNorm(norm))
    }
}

fn linear(name: &str, from: u64, to: u64) -> Layer {
    let linear = Linear {
        init: INIT,
        ..Linear::new(from, to)
    };
    Layer::new(name, Op::Linear(linear))
}
