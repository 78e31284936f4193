//! Tensors under foreign names, in the order of the network's: programs that build the same network name its parts differently, but
//! create them in the same order.

use tch::Tensor;

use super::some;
use crate::{domain::spec::Architecture, worker::files::state::StateDict};

/// The tensors under the network's names, with a head of `outputs` outputs; and what was done. Names that fit are kept.
///
/// # Errors
/// What does not fit: their number, or the shape of one.
pub fn by_order(
    tensors: Vec<(String, Tensor)>,
    architecture: Architecture,
    outputs: u64,
) -> Result<(StateDict, Vec<String>), String> {
    let own = architecture.design().tensors(outputs);
    let names: Vec<&String> = own.iter().map(|(_, name, _)| name).collect();
    if tensors.iter().all(|(name, _)| names.contains(&name)) {
        return Ok((tensors.into_iter().collect(), Vec::new()));
    }
    if tensors.len() != own.len() {
        return Err(format!(
            "they are {} tensors, and {architecture} has {}",
            tensors.len(),
            own.len()
        ));
    }
    let mut state = StateDict::new();
    let foreign: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
    for ((theirs, tensor), (_, name, design)) in tensors.into_iter().zip(own) {
        let shape: Vec<i64> = design.shape.iter().map(|length| *length as i64).collect();
        if tensor.size() != shape {
            return Err(format!(
                "`{theirs}` has the shape {:?}, and `{name}` of {architecture} in its place {shape:?}",
                tensor.size()
            ));
        }
        state.insert(name, tensor);
    }
    let told = format!(
        "the {} tensors have other names ({}) and are taken in their order; every shape fits",
        foreign.len(),
        some(foreign.iter())
    );
    Ok((state, vec![told]))
}
