//! Attention within windows, and the merging of patches, as nodes of a graph. Its images have one size, so where each position goes is known:
//! cutting a map into windows and putting it together again is a `Gather` each.

use super::{
    graph::{Graph, integer, integers},
    products::{multiplied, plus},
};
use crate::{
    domain::architecture::{
        layer::joined,
        windows::{WindowAttention, Windows, relative_positions},
    },
    worker::nets::tokens::windows::MERGED,
};

/// For a map of this height and width.
pub fn attention(
    graph: &mut Graph,
    design: &WindowAttention,
    name: &str,
    (value, size): (&str, [u64; 2]),
) -> String {
    let part = |word: &str| joined(name, word);
    let windows = design.windows(size);
    let [height, width] = size.map(|length| length as i64);
    let (features, heads) = (design.features as i64, design.heads as i64);
    let [count, places, positions] =
        [windows.count, design.places(), windows.back.len() as u64].map(|number| number as i64);
    let parted = parted(graph, &windows, name, (value, [positions, features]));

    let mut qkv = multiplied(graph, &parted, &part("qkv.weight"), &part("qkv.product"));
    qkv = plus(graph, &qkv, &part("qkv.bias"), &part("qkv.sum"));
    let parts = graph.integers(&part("parts"), &[0, count, places, 3, heads, features / heads]);
    let qkv = graph.node("Reshape", &part("qkv.parted"), [&*qkv, &*parts], Vec::new());
    let order = vec![integers("perm", &[3, 0, 1, 4, 2, 5])];
    let qkv = graph.node("Transpose", &part("qkv.ordered"), [&*qkv], order);
    let mut take = |word: &str, place| {
        let index = graph.integer(&part(&format!("{word}.index")), place);
        let axis = vec![integer("axis", 0)];
        graph.node("Gather", &part(word), [&*qkv, &*index], axis)
    };
    let [queries, keys, values] =
        [("queries", 0), ("keys", 1), ("values", 2)].map(|(word, place)| take(word, place));
    let turned = vec![integers("perm", &[0, 1, 2, 4, 3])];
    let keys = graph.node("Transpose", &part("keys.transposed"), [&*keys], turned);
    let scores = graph.node("MatMul", &part("scores"), [&*queries, &*keys], Vec::new());
    let scale = (features as f32 / heads as f32).sqrt().recip();
    let scale = graph.floats(&part("scale"), &[], &[scale]);
    let scores = graph.node("Mul", &part("scores.scaled"), [&*scores, &*scale], Vec::new());
    let biases = biases(graph, design, &windows, name);
    let scores = graph.node("Add", &part("scores.biased"), [&*scores, &*biases], Vec::new());
    let shares = graph.node("Softmax", &part("shares"), [&*scores], vec![integer("axis", -1)]);
    let mixed = graph.node("MatMul", &part("mixed"), [&*shares, &*values], Vec::new());

    let back = vec![integers("perm", &[0, 1, 3, 2, 4])];
    let mixed = graph.node("Transpose", &part("mixed.ordered"), [&*mixed], back);
    let whole = graph.integers(&part("whole"), &[0, count * places, features]);
    let mixed = graph.node("Reshape", &part("mixed.whole"), [&*mixed, &*whole], Vec::new());
    let projected = multiplied(graph, &mixed, &part("proj.weight"), &part("proj.product"));
    let projected = plus(graph, &projected, &part("proj.bias"), &part("proj.sum"));
    let back = graph.integers(&part("back"), &windows.back);
    let axis = vec![integer("axis", 1)];
    let positioned = graph.node("Gather", &part("positioned"), [&*projected, &*back], axis);
    let map = graph.integers(&part("map"), &[0, height, width, features]);
    let map = graph.node("Reshape", &part("mapped"), [&*positioned, &*map], Vec::new());
    graph.node("Transpose", name, [&*map], vec![integers("perm", &[0, 3, 1, 2])])
}

/// The positions of a map in the order of its windows, `[N, windows · places, C]`.
fn parted(
    graph: &mut Graph,
    windows: &Windows,
    name: &str,
    (value, [positions, features]): (&str, [i64; 2]),
) -> String {
    let part = |word: &str| joined(name, word);
    let last = vec![integers("perm", &[0, 2, 3, 1])];
    let last = graph.node("Transpose", &part("last"), [value], last);
    let flat = graph.integers(&part("flat"), &[0, positions, features]);
    let mut flat = graph.node("Reshape", &part("flattened"), [&*last, &*flat], Vec::new());
    if windows.order.len() > windows.back.len() {
        let pads = graph.integers(&part("pads"), &[0, 0, 0, 0, 1, 0]);
        flat = graph.node("Pad", &part("padded"), [&*flat, &*pads], Vec::new());
    }
    let order = graph.integers(&part("order"), &windows.order);
    let axis = vec![integer("axis", 1)];
    graph.node("Gather", &part("windows"), [&*flat, &*order], axis)
}

/// What is added to the scores, `[heads, places, places]` or for each window.
fn biases(graph: &mut Graph, design: &WindowAttention, windows: &Windows, name: &str) -> String {
    let part = |word: &str| joined(name, word);
    let (places, heads) = (design.places() as i64, design.heads as i64);
    let table = graph.weight(part("relative_position_bias_table"));
    let rows = graph.integers(
        &part("relative_position_index"),
        &relative_positions(design.window),
    );
    let axis = vec![integer("axis", 0)];
    let biases = graph.node("Gather", &part("biases"), [&*table, &*rows], axis);
    let pairs = graph.integers(&part("pairs"), &[places, places, heads]);
    let biases = graph.node("Reshape", &part("biases.paired"), [&*biases, &*pairs], Vec::new());
    let order = vec![integers("perm", &[2, 0, 1])];
    let biases = graph.node("Transpose", &part("biases.ordered"), [&*biases], order);
    let Some(regions) = &windows.regions else {
        return biases;
    };
    let count = windows.count as i64;
    let one = graph.floats(&part("regions"), &[count, 1, places, 1], regions);
    let other = graph.floats(&part("regions.others"), &[count, 1, 1, places], regions);
    // Regions are whole numbers: the square of a difference is 0 or at least 1.
    let apart = graph.node("Sub", &part("regions.apart"), [&*one, &*other], Vec::new());
    let apart = graph.node("Mul", &part("regions.square"), [&*apart, &*apart], Vec::new());
    let [least, most] = [("regions.least", 0.0), ("regions.most", 1.0)]
        .map(|(word, bound)| graph.floats(&part(word), &[], &[bound]));
    let apart = graph.node(
        "Clip",
        &part("regions.differ"),
        [&*apart, &*least, &*most],
        Vec::new(),
    );
    let unseen = graph.floats(&part("unseen"), &[], &[WindowAttention::UNSEEN as f32]);
    let unseen = graph.node("Mul", &part("regions.unseen"), [&*apart, &*unseen], Vec::new());
    graph.node("Add", &part("biases.masked"), [&*biases, &*unseen], Vec::new())
}

/// For a map of this height and width.
pub fn merged(graph: &mut Graph, name: &str, (value, [height, width]): (&str, [u64; 2])) -> String {
    let part = |word: &str| joined(name, word);
    let mut even = value.to_owned();
    if height % 2 == 1 || width % 2 == 1 {
        let [below, right] = [height, width].map(|length| (length % 2) as i64);
        let pads = graph.integers(&part("pads"), &[0, 0, 0, 0, 0, 0, below, right]);
        even = graph.node("Pad", &part("padded"), [&*even, &*pads], Vec::new());
    }
    let ends = graph.integers(&part("ends"), &[i64::MAX; 2]);
    let axes = graph.integers(&part("axes"), &[2, 3]);
    let steps = graph.integers(&part("steps"), &[2; 2]);
    let quarters = [0, 1, 2, 3].map(|number| {
        let quarter = part(&format!("quarter{number}"));
        let starts = graph.integers(&format!("{quarter}.starts"), &MERGED[number]);
        graph.node(
            "Slice",
            &quarter,
            [&even, &starts, &ends, &axes, &steps],
            Vec::new(),
        )
    });
    graph.node("Concat", name, &quarters, vec![integer("axis", 1)])
}
