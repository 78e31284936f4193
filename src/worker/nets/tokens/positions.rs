//! Position embeddings for images of any size.

use tch::Tensor;

use crate::domain::architecture::layer::PositionEmbedding;

/// The embedding `[1, prefix + grid², features]` for so many tokens: those of the patches are interpolated, where there are more or fewer
/// than the network is designed for (`resample_abs_pos_embed` of timm).
pub fn for_tokens(embedding: &Tensor, design: &PositionEmbedding, tokens: i64) -> Tensor {
    let (grid, prefix, features) = (design.grid as i64, design.prefix as i64, design.features as i64);
    if tokens == prefix + grid * grid {
        return embedding.shallow_clone();
    }
    // Images are squares.
    let side = (tokens - prefix).isqrt();
    let map = embedding
        .narrow(1, prefix, grid * grid)
        .view([1, grid, grid, features])
        .permute([0, 3, 1, 2]);
    let resized = map.internal_upsample_bicubic2d_aa([side, side], false, None, None);
    let patches = resized.permute([0, 2, 3, 1]).reshape([1, side * side, features]);
    Tensor::cat(&[&embedding.narrow(1, 0, prefix), &patches], 1)
}
