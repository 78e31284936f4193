//! The tensors of an adapter: those of its base that it replaces, and low-rank changes of others (Hu et al. 2021, "LoRA").
//!
//! Beside a weight `[to, from]` called `x` are the tensors `x.lora_A` `[rank, from]`, `x.lora_B` `[to, rank]` and `x.lora_scale`, a number:
//! the weight counts as `x + lora_scale · lora_B lora_A`.

use tch::Kind;

use super::state::StateDict;
use crate::worker::autograd::without_gradients;

const DOWN: &str = ".lora_A";
const UP: &str = ".lora_B";
const SCALE: &str = ".lora_scale";

/// The three tensors beside a weight: `lora_A`, `lora_B`, and the scale.
pub fn names(weight: &str) -> [String; 3] {
    [DOWN, UP, SCALE].map(|part| format!("{weight}{part}"))
}

/// The weight that a tensor is beside, where it is part of a change.
pub fn weight_of(name: &str) -> Option<&str> {
    [DOWN, UP, SCALE].iter().find_map(|part| name.strip_suffix(part))
}

/// Whether it is trained: not the scale.
pub fn learns(name: &str) -> bool {
    name.ends_with(DOWN) || name.ends_with(UP)
}

/// All tensors of a model that is an adapter: its own, and those of the base that it does not replace. No tensor is copied.
pub fn joined(base: &StateDict, own: StateDict) -> StateDict {
    let mut all: StateDict = base
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect();
    all.extend(own);
    all
}

/// Adds every change to its weight, in 64-bit floats, and takes its tensors away. No tensor is changed in place.
pub fn merge(state: &mut StateDict) {
    let changed: Vec<String> = state
        .keys()
        .filter_map(|name| name.strip_suffix(DOWN).map(str::to_owned))
        .collect();
    for weight in changed {
        let parts = names(&weight);
        let [Some(down), Some(up), Some(scale)] = parts.each_ref().map(|name| state.get(name)) else {
            continue;
        };
        let Some(old) = state.get(&weight) else {
            continue;
        };
        // What does not fit is left as it is, and found where the network is built.
        let fits = match (&up.size()[..], &down.size()[..]) {
            ([to, rank], [rows, from]) => rank == rows && old.size() == [*to, *from] && scale.numel() == 1,
            _ => false,
        };
        if !fits {
            continue;
        }
        let merged = without_gradients(|| {
            let [down, up, scale] = [down, up, scale].map(|tensor| tensor.to_kind(Kind::Double));
            (old.to_kind(Kind::Double) + up.matmul(&down) * scale).to_kind(old.kind())
        });
        parts.iter().for_each(|name| drop(state.remove(name)));
        state.insert(weight, merged);
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Tensor};

    use super::*;

    #[test]
    fn changes_are_added_and_what_does_not_fit_stays() {
        let numbers = |values: &[f32], shape: &[i64]| Tensor::from_slice(values).view(shape);
        let base = StateDict::from([
            (
                "a.weight".to_owned(),
                numbers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]),
            ),
            ("b.weight".to_owned(), numbers(&[1.0], &[1, 1])),
            ("norm.bias".to_owned(), numbers(&[0.0, 0.0], &[2])),
        ]);
        let [down, up, scale] = names("a.weight");
        let own = StateDict::from([
            (down, numbers(&[1.0, 0.0, -1.0], &[1, 3])),
            (up, numbers(&[1.0, 2.0], &[2, 1])),
            (scale, Tensor::from(0.5f32)),
            ("b.weight.lora_A".to_owned(), numbers(&[1.0], &[1, 1])),
            ("norm.bias".to_owned(), numbers(&[3.0, 4.0], &[2])),
        ]);
        let mut all = joined(&base, own);
        merge(&mut all);
        let expected = numbers(&[1.5, 2.0, 2.5, 5.0, 5.0, 5.0], &[2, 3]);
        assert!(all["a.weight"].equal(&expected));
        assert!(all["norm.bias"].equal(&numbers(&[3.0, 4.0], &[2])));
        assert_eq!(
            all.keys().map(String::as_str).collect::<Vec<_>>(),
            ["a.weight", "b.weight", "b.weight.lora_A", "norm.bias"]
        );
        let untouched = numbers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]);
        assert!(base["a.weight"].equal(&untouched));
        // Of other lengths than the weight.
        all.insert(
            "a.weight.lora_A".to_owned(),
            Tensor::zeros([1, 2], (Kind::Float, Device::Cpu)),
        );
        all.insert(
            "a.weight.lora_B".to_owned(),
            Tensor::zeros([2, 1], (Kind::Float, Device::Cpu)),
        );
        all.insert("a.weight.lora_scale".to_owned(), Tensor::from(1f32));
        merge(&mut all);
        assert!(all.contains_key("a.weight.lora_A"));
    }
}
