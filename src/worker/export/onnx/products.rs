//! Products with a weight and sums with a bias, as nodes of a graph.

use super::graph::{Graph, integers};

/// Multiplied by a weight `[to, from]`.
pub fn multiplied(graph: &mut Graph, value: &str, weight: &str, name: &str) -> String {
    let weight = graph.weight(weight.to_owned());
    let turned = vec![integers("perm", &[1, 0])];
    let turned = graph.node("Transpose", &format!("{weight}.transposed"), [&*weight], turned);
    graph.node("MatMul", name, [value, &*turned], Vec::new())
}

pub fn plus(graph: &mut Graph, value: &str, weight: &str, name: &str) -> String {
    let weight = graph.weight(weight.to_owned());
    graph.node("Add", name, [value, &*weight], Vec::new())
}
