//! Networks' tensors under timm's names, for exports, and back, for weights from timm's repositories.
//!
//! Tensors keep their numbers; a few get another shape. Where timm's BatchNorms have another epsilon than ours, their weights are scaled so
//! that the network computes the same.

use tch::{Kind, Tensor};

use super::state::StateDict;
use crate::domain::{architecture::timm::Twin, spec::Architecture};

/// A network's tensors as timm has them; unchanged where the names are the same.
pub fn into_timm(state: &StateDict, architecture: Architecture) -> StateDict {
    let mut state = copied(state);
    let tensors = architecture.design().tensors(1).into_iter();
    for (_, name, _) in tensors.filter(|(_, _, tensor)| tensor.is_computed()) {
        state.remove(&name);
    }
    if let Some([ours, theirs]) = architecture.epsilons() {
        rescale(&mut state, ours, theirs);
    }
    rename(state, architecture, |twin| Renaming {
        from: &twin.name,
        from_shape: &twin.tensor.shape,
        to: &twin.in_timm,
        to_shape: &twin.shape_in_timm,
    })
}

/// Tensors under timm's names, under ours; others stay as they are.
pub fn from_timm(state: StateDict, architecture: Architecture) -> StateDict {
    let mut state = rename(state, architecture, |twin| Renaming {
        from: &twin.in_timm,
        from_shape: &twin.shape_in_timm,
        to: &twin.name,
        to_shape: &twin.tensor.shape,
    });
    if let Some([ours, theirs]) = architecture.epsilons() {
        rescale(&mut state, theirs, ours);
    }
    state
}

struct Renaming<'a> {
    from: &'a str,
    from_shape: &'a [u64],
    to: &'a str,
    to_shape: &'a [u64],
}

fn rename(
    mut state: StateDict,
    architecture: Architecture,
    renaming: impl Fn(&Twin) -> Renaming,
) -> StateDict {
    let mut renamed = StateDict::new();
    for twin in architecture.twins(1).unwrap_or_default() {
        let it = renaming(&twin);
        let Some(tensor) = state.remove(it.from) else {
            continue;
        };
        // One of a third shape is not the network's, which whoever loads it says better.
        let fits = it.from_shape != it.to_shape && tensor.size() == lengths(it.from_shape);
        let tensor = match fits {
            true => tensor.reshape(lengths(it.to_shape)),
            false => tensor,
        };
        renamed.insert(it.to.to_owned(), tensor);
    }
    for (name, tensor) in state {
        renamed.entry(name).or_insert(tensor);
    }
    renamed
}

/// BatchNorms compute `(x - mean) / √(variance + epsilon) · weight + bias`: with this weight, the same with another epsilon.
fn rescale(state: &mut StateDict, from: f64, to: f64) {
    const VARIANCE: &str = "running_var";
    let layers: Vec<String> = state
        .keys()
        .filter_map(|name| name.strip_suffix(VARIANCE).map(str::to_owned))
        .collect();
    for layer in layers {
        let name = format!("{layer}weight");
        let variance = &state[&format!("{layer}{VARIANCE}")];
        let Some(weight) = state
            .get(&name)
            .filter(|weight| weight.size() == variance.size() && weight.is_floating_point())
        else {
            continue;
        };
        let variance = variance.to_kind(Kind::Double);
        let factor = ((&variance + to) / (&variance + from)).sqrt();
        let scaled = (weight.to_kind(Kind::Double) * factor).to_kind(Kind::Float);
        state.insert(name, scaled);
    }
}

fn copied(state: &StateDict) -> StateDict {
    let shared = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shallow_clone());
    state.iter().map(shared).collect()
}

fn lengths(shape: &[u64]) -> Vec<i64> {
    shape.iter().map(|length| *length as i64).collect()
}
