//! The head among what is not the backbone: a linear layer from the features to the classes.

use std::collections::BTreeSet;

use tch::Tensor;

use super::names::Names;
use crate::worker::files::state::StateDict;

/// Linear layers with so many inputs: their names, weights `[outputs, features]`, and biases if they have any.
pub fn linears(state: &StateDict, features: i64) -> Vec<(String, Tensor, Option<Tensor>)> {
    let linear = |(name, weight): (&String, &Tensor)| {
        let stem = name.strip_suffix(".weight")?;
        let [outputs, inputs] = weight.size()[..] else {
            return None;
        };
        let bias = state.get(&format!("{stem}.bias"));
        let fits = inputs == features && bias.is_none_or(|bias| bias.size() == [outputs]);
        fits.then(|| {
            (
                stem.to_owned(),
                weight.shallow_clone(),
                bias.map(Tensor::shallow_clone),
            )
        })
    };
    state.iter().filter_map(linear).collect()
}

/// Whether a tensor is in the layer, or in a layer below it.
pub fn is_below(name: &str, layer: &str) -> bool {
    name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'))
}

/// All tensors of the part of the network that this linear layer is in, unless that is a part of the backbone.
pub fn group(state: &StateDict, stem: &str, names: &Names) -> Vec<String> {
    let top = stem.split('.').next().unwrap_or(stem);
    let in_backbone = names.backbone.iter().any(|name| is_below(name, top));
    let layer = if in_backbone { stem } else { top };
    state
        .keys()
        .filter(|name| is_below(name, layer))
        .cloned()
        .collect()
}

/// How many of these are weights of layers.
pub fn weights(state: &StateDict, names: &BTreeSet<String>) -> usize {
    names.iter().filter(|name| state[*name].dim() > 1).count()
}
