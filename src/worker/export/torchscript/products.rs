//! Linear layers and numbers in TorchScript.

use super::modules::{Builder, INPUT};
use crate::domain::architecture::layer::joined;

/// The arithmetic of a linear layer, its tensors below `slot` where that has a name.
pub fn product(module: &mut Builder, name: &str, slot: &str, bias: bool, value: &str) -> String {
    if !slot.is_empty() {
        let mut inner = Builder::new("Linear");
        let output = product(&mut inner, &joined(name, slot), "", bias, INPUT);
        return module.module(slot, inner.returning(&output), value);
    }
    let weight = module.parameter("weight", joined(name, "weight"));
    let bias = match bias {
        true => module.parameter("bias", joined(name, "bias")),
        false => "None".to_owned(),
    };
    module.value(&format!("torch.linear({value}, {weight}, {bias})"))
}

/// With a decimal point or an exponent, so that it is read as a float.
pub fn decimal(value: f64) -> String {
    format!("{value:?}")
}
