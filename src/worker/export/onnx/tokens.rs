//! Layers of transformers, and heads of nearest neighbours, as nodes of a graph.

use tch::Tensor;

use super::{
    graph::{Graph, integer, integers},
    messages::INT64,
    products::{multiplied, plus},
};
use crate::{
    domain::architecture::layer::{Attention, Neighbours, Rotary, joined},
    worker::nets::tokens::rotary,
};

pub fn attention(graph: &mut Graph, design: &Attention, name: &str, (value, tokens): (&str, u64)) -> String {
    let part = |word: &str| joined(name, word);
    let (heads, size) = (design.heads as i64, (design.features / design.heads) as i64);
    let [weight, bias, out_weight, out_bias] = design.names.all().map(part);
    let mut qkv = multiplied(graph, value, &weight, &part("qkv.product"));
    if design.bias {
        qkv = plus(graph, &qkv, &bias, &part("qkv.sum"));
    }
    let parts = graph.integers(&part("parts"), &[0, 0, 3, heads, size]);
    let parted = graph.node("Reshape", &part("parted"), [&*qkv, &*parts], Vec::new());
    let order = vec![integers("perm", &[2, 0, 3, 1, 4])];
    let parted = graph.node("Transpose", &part("ordered"), [&*parted], order);
    let mut take = |word: &str, place| {
        let index = graph.integer(&part(&format!("{word}.index")), place);
        graph.node(
            "Gather",
            &part(word),
            [&*parted, &*index],
            vec![integer("axis", 0)],
        )
    };
    let [mut queries, mut keys, values] =
        [("queries", 0), ("keys", 1), ("values", 2)].map(|(word, at)| take(word, at));
    if let Some(rotary) = &design.rotary {
        [queries, keys] = turned(graph, rotary, name, [tokens as i64, size], [queries, keys]);
    }
    let turned = vec![integers("perm", &[0, 1, 3, 2])];
    let keys = graph.node("Transpose", &part("keys.transposed"), [&*keys], turned);
    let scores = graph.node("MatMul", &part("scores"), [&*queries, &*keys], Vec::new());
    let scale = graph.floats(&part("scale"), &[], &[1.0 / (size as f32).sqrt()]);
    let scores = graph.node("Mul", &part("scores.scaled"), [&*scores, &*scale], Vec::new());
    let shares = graph.node("Softmax", &part("shares"), [&*scores], vec![integer("axis", -1)]);
    let mixed = graph.node("MatMul", &part("mixed"), [&*shares, &*values], Vec::new());
    let back = vec![integers("perm", &[0, 2, 1, 3])];
    let mixed = graph.node("Transpose", &part("mixed.ordered"), [&*mixed], back);
    let whole = graph.integers(&part("whole"), &[0, 0, design.features as i64]);
    let mixed = graph.node("Reshape", &part("mixed.whole"), [&*mixed, &*whole], Vec::new());
    let projected = multiplied(graph, &mixed, &out_weight, &part("out.product"));
    plus(graph, &projected, &out_bias, name)
}

/// Queries and keys with their rotary embedding, whose angles are constants for images of one size.
fn turned(
    graph: &mut Graph,
    rotary: &Rotary,
    name: &str,
    [tokens, size]: [i64; 2],
    vectors: [String; 2],
) -> [String; 2] {
    let part = |word: &str| joined(name, word);
    let angles = rotary::angles(rotary, tokens, size);
    let mut constant = |word: &str, tensor: &Tensor, dims: [i64; 2]| {
        let values = Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap_or_default();
        graph.floats(&part(word), &dims, &values)
    };
    let cos = constant("rotary.cos", &angles.cos(), [tokens, size]);
    let sin = constant("rotary.sin", &angles.sin(), [tokens, size]);
    let turning = constant("rotary.turning", &rotary::turning(size), [size, size]);
    vectors.map(|vectors| {
        let below = |word: &str| format!("{vectors}.{word}");
        let across = graph.node("MatMul", &below("across"), [&*vectors, &*turning], Vec::new());
        let across = graph.node("Mul", &below("sine"), [&*across, &*sin], Vec::new());
        let along = graph.node("Mul", &below("cosine"), [&*vectors, &*cos], Vec::new());
        graph.node("Add", &below("turned"), [&*along, &*across], Vec::new())
    })
}

/// The tokens once per image, before all others.
pub fn learned_tokens(graph: &mut Graph, [count, features]: [u64; 2], name: &str, value: &str) -> String {
    let part = |word: &str| joined(name, word);
    let token = graph.weight(name.to_owned());
    let shape = graph.node("Shape", &part("shape"), [value], vec![integer("end", 1)]);
    let rest = graph.integers(&part("rest"), &[count as i64, features as i64]);
    let size = [&*shape, &*rest];
    let size = graph.node("Concat", &part("size"), size, vec![integer("axis", 0)]);
    let tokens = graph.node("Expand", &part("expanded"), [&*token, &*size], Vec::new());
    graph.node(
        "Concat",
        &part("tokens"),
        [&*tokens, value],
        vec![integer("axis", 1)],
    )
}

pub fn neighbours(graph: &mut Graph, design: &Neighbours, name: &str, value: &str) -> String {
    let part = |word: &str| joined(name, word);
    let products = multiplied(graph, value, &part("bank"), &part("products"));
    let k = graph.integers(&part("k"), &[design.k as i64]);
    let [nearest, places] = graph.node_of_two(
        "TopK",
        [&part("nearest"), &part("places")],
        [&*products, &*k],
        vec![integer("axis", 1)],
    );
    let temperature = graph.floats(&part("temperature"), &[], &[design.temperature as f32]);
    let scaled = graph.node(
        "Div",
        &part("nearest.scaled"),
        [&*nearest, &*temperature],
        Vec::new(),
    );
    let votes = graph.node("Softmax", &part("votes"), [&*scaled], vec![integer("axis", 1)]);
    let labels = graph.weight(part("labels"));
    let chosen = graph.node(
        "Gather",
        &part("chosen"),
        [&*labels, &*places],
        vec![integer("axis", 0)],
    );
    let classes = graph.node(
        "Cast",
        &part("chosen.classes"),
        [&*chosen],
        vec![integer("to", i64::from(INT64))],
    );
    let depth = graph.integer(&part("classes"), design.classes as i64);
    let ends = graph.floats(&part("off_and_on"), &[2], &[0.0, 1.0]);
    let chosen = graph.node(
        "OneHot",
        &part("chosen.one_hot"),
        [&*classes, &*depth, &*ends],
        vec![integer("axis", -1)],
    );
    let last = graph.integers(&part("last"), &[2]);
    let votes = graph.node("Unsqueeze", &part("votes.column"), [&*votes, &*last], Vec::new());
    let counted = graph.node("Mul", &part("counted"), [&*chosen, &*votes], Vec::new());
    let over = graph.integers(&part("neighbours"), &[1]);
    let shares = graph.node(
        "ReduceSum",
        &part("shares"),
        [&*counted, &*over],
        vec![integer("keepdims", 0)],
    );
    let least = graph.floats(&part("least"), &[], &[Neighbours::SMALLEST_SHARE as f32]);
    let shares = graph.node("Clip", &part("shares.some"), [&*shares, &*least], Vec::new());
    graph.node("Log", name, [&*shares], Vec::new())
}
