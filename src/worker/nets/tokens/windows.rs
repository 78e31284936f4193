//! Attention within the windows of a map, and the merging of neighbouring patches (Liu et al. 2021, "Swin Transformer").

use tch::{Kind, Tensor};

use crate::{
    domain::architecture::windows::{WindowAttention, Windows},
    worker::nets::low_rank::Affine,
};

/// For a map `[N, C, H, W]`, with the table of biases and the places of the distances in it; `qkv` gives queries, keys and values together.
pub fn attention(
    input: &Tensor,
    design: &WindowAttention,
    (table, positions): (&Tensor, &Tensor),
    qkv: Affine,
    proj: Affine,
) -> Tensor {
    let (count, features, height, width) = input.size4().expect("a map has four dimensions");
    let windows = design.windows([height as u64, width as u64]);
    let (kind, device) = (input.kind(), input.device());
    let placed = |places: &[i64]| Tensor::from_slice(places).to_device(device);
    let mut positioned = input.flatten(2, 3).transpose(1, 2);
    if windows.order.len() > windows.back.len() {
        // The zeros of the padding, once.
        positioned = positioned.constant_pad_nd([0, 0, 0, 1]);
    }
    let parted = positioned.index_select(1, &placed(&windows.order));
    let (heads, places) = (design.heads as i64, design.places() as i64);
    let parted = qkv
        .of(&parted)
        .view([count, windows.count as i64, places, 3, heads, features / heads])
        .permute([3, 0, 1, 4, 2, 5]);
    let [queries, keys, values] = [0, 1, 2].map(|place| parted.get(place));
    let biases = table
        .index_select(0, positions)
        .view([places, places, heads])
        .permute([2, 0, 1]);
    let biases = match unseen(&windows, places) {
        Some(unseen) => biases.unsqueeze(0) + unseen.to_device(device),
        None => biases,
    };
    let mixed = Tensor::scaled_dot_product_attention(
        &queries,
        &keys,
        &values,
        Some(&biases.to_kind(kind)),
        0.0,
        false,
        None::<f64>,
        false,
    );
    let mixed = mixed.permute([0, 1, 3, 2, 4]).reshape([count, -1, features]);
    proj.of(&mixed)
        .index_select(1, &placed(&windows.back))
        .transpose(1, 2)
        .view([count, features, height, width])
}

/// What is added to the scores of each window, `[windows, 1, places, places]`; none where all places see each other.
fn unseen(windows: &Windows, places: i64) -> Option<Tensor> {
    let regions = Tensor::from_slice(windows.regions.as_ref()?).view([-1, 1, places]);
    let apart = regions.unsqueeze(2).ne_tensor(&regions.unsqueeze(3));
    Some(apart.to_kind(Kind::Float) * WindowAttention::UNSEEN)
}

/// `[N, C, H, W]` to `[N, 4 C, ⌈H / 2⌉, ⌈W / 2⌉]`.
pub fn merged(input: &Tensor) -> Tensor {
    let (_, _, height, width) = input.size4().expect("a map has four dimensions");
    let even = match (height % 2, width % 2) {
        (0, 0) => input.shallow_clone(),
        (below, right) => input.constant_pad_nd([0, right, 0, below]),
    };
    let quarter = |[row, column]: [i64; 2]| even.slice(2, row, None, 2).slice(3, column, None, 2);
    Tensor::cat(&MERGED.map(quarter), 1)
}

/// Row and column of the four positions that become one, in the order of their channels.
pub const MERGED: [[i64; 2]; 4] = [[0, 0], [1, 0], [0, 1], [1, 1]];
