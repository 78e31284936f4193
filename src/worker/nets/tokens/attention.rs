//! Multi-head self-attention over tokens (Vaswani et al. 2017).

use tch::Tensor;

use super::rotary;
use crate::{domain::architecture::layer::Attention, worker::nets::low_rank::Affine};

/// For tokens `[N, T, features]`; `qkv` gives queries, keys and values together.
pub fn forward(input: &Tensor, design: &Attention, qkv: Affine, proj: Affine) -> Tensor {
    let (count, tokens, features) = input.size3().expect("tokens have three dimensions");
    let heads = design.heads as i64;
    let parted = qkv
        .of(input)
        .view([count, tokens, 3, heads, features / heads])
        .permute([2, 0, 3, 1, 4]);
    let [mut queries, mut keys, values] = [0, 1, 2].map(|place| parted.get(place));
    if let Some(rotary) = &design.rotary {
        let angles = rotary::angles(rotary, tokens, features / heads);
        let [cos, sin] =
            [angles.cos(), angles.sin()].map(|factor| factor.to_device(input.device()).to_kind(input.kind()));
        [queries, keys] = [queries, keys].map(|vectors| &vectors * &cos + rotary::turned(&vectors) * &sin);
    }
    let mixed = Tensor::scaled_dot_product_attention(
        &queries,
        &keys,
        &values,
        None::<&Tensor>,
        0.0,
        false,
        None::<f64>,
        false,
    );
    proj.of(&mixed.transpose(1, 2).reshape([count, tokens, features]))
}
