//! Detects the network from the shapes of its tensors, and from their names where several have the same shapes.

use std::collections::BTreeMap;

use super::refusal::Refusal;
use crate::{
    domain::{
        architecture::{Head, network::NetworkDesign},
        spec::Architecture,
    },
    worker::{
        files::state::StateDict,
        nets::heads,
        weights::fit::{is_auxiliary, is_computed},
    },
};

/// Most matrices besides the network's own: of its head, or of one that other classes had.
const MAX_OTHERS: usize = 3;

/// The network that these weights are of; the first, where their tensors fit several.
pub fn architecture(weights: &StateDict) -> Option<Architecture> {
    architectures(weights).first().copied()
}

/// The networks whose backbones have exactly these kernels and matrices, and these names or timm's if any has them; a head may be there or
/// not. Those with and without the approximation of GELU are stored alike.
pub fn architectures(weights: &StateDict) -> Vec<Architecture> {
    let found = weights
        .iter()
        .filter(|(name, _)| !is_auxiliary(name) && !is_computed(name));
    let found = found.map(|(_, tensor)| tensor.size());
    let found = counted(found.filter(|size| size.len() > 1));
    let mut fitting = Vec::new();
    let mut by_name = Vec::new();
    for architecture in Architecture::ALL {
        let theirs = architecture.design().as_in_timm();
        let designs = [Some(architecture.design()), theirs.as_ref()];
        let mut fitting_designs = designs
            .into_iter()
            .flatten()
            .filter(|design| fits(&found, design));
        if let Some(first) = fitting_designs.next() {
            fitting.push(architecture);
            if [first]
                .into_iter()
                .chain(fitting_designs)
                .any(|design| has_all(weights, design))
            {
                by_name.push(architecture);
            }
        }
    }
    if by_name.is_empty() { fitting } else { by_name }
}

/// The head of weights without a card: one linear layer where there is none of ours.
///
/// # Errors
/// Its tensors do not say everything.
pub fn head(weights: &StateDict, architecture: Architecture) -> anyhow::Result<Head> {
    let Some(found) = heads::found(weights, architecture) else {
        return Ok(Head::Linear);
    };
    found.head().ok_or_else(|| {
        let message = "the weights end with the images of a nearest neighbour head, but do not say how many of them vote; import the bundle of \
                       the model, which has its card";
        Refusal::new(message).into()
    })
}

/// How many tensors there are of each shape.
type Counts = BTreeMap<Vec<i64>, usize>;

fn counted(shapes: impl Iterator<Item = Vec<i64>>) -> Counts {
    let mut counts = Counts::new();
    for shape in shapes {
        *counts.entry(shape).or_default() += 1;
    }
    counts
}

/// Whether all kernels are among those found, and what else was found are a few matrices, or kernels of one position where the head gets a
/// map.
fn fits(found: &Counts, design: &NetworkDesign) -> bool {
    let kernels = &kernels(design);
    let is_of_a_head = |shape: &[i64]| match *shape {
        [_, _] => true,
        [_, _, 1, 1] => design.has_map_features(),
        _ => false,
    };
    let count = |of: &Counts, shape: &[i64]| of.get(shape).copied().unwrap_or_default();
    let has_all = kernels
        .iter()
        .all(|(shape, wanted)| count(found, shape) >= *wanted);
    let others = found
        .iter()
        .map(|(shape, seen)| (shape, seen - count(kernels, shape).min(*seen)));
    let others: Vec<_> = others.filter(|(_, more)| *more > 0).collect();
    let are_of_a_head = others.iter().all(|(shape, _)| is_of_a_head(shape));
    has_all && are_of_a_head && others.iter().map(|(_, more)| more).sum::<usize>() <= MAX_OTHERS
}

/// Shapes of all tensors of the backbone that have two dimensions or more.
fn kernels(design: &NetworkDesign) -> Counts {
    let tensors = design.tensors(0).into_iter();
    let of_backbone = tensors.filter(|(stage, _, tensor)| stage.is_some() && tensor.shape.len() > 1);
    counted(of_backbone.map(|(_, _, tensor)| tensor.shape.iter().map(|length| *length as i64).collect()))
}

fn has_all(weights: &StateDict, design: &NetworkDesign) -> bool {
    let tensors = design.tensors(0).into_iter();
    let mut of_backbone = tensors.filter(|(stage, _, tensor)| stage.is_some() && tensor.learns());
    of_backbone.all(|(_, name, _)| weights.contains_key(&name))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::worker::nets::Network;

    /// Tensors without memory of their own: only names and shapes count.
    fn shaped(tensors: impl Iterator<Item = (String, Vec<u64>)>) -> StateDict {
        let zero = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        let shaped = tensors.map(|(name, shape)| {
            let shape: Vec<i64> = shape.into_iter().map(|length| length as i64).collect();
            let tensor = match shape.is_empty() {
                true => Tensor::from(0i64),
                false => zero.expand(shape, false),
            };
            (name, tensor)
        });
        shaped.collect()
    }

    fn drawn(architecture: Architecture) -> StateDict {
        let tensors = architecture.design().tensors(7).into_iter();
        shaped(tensors.map(|(_, name, tensor)| (name, tensor.shape)))
    }

    #[test]
    fn timms_names_tell_a_network_too() {
        for one in Architecture::ALL {
            if let Some(twins) = one.twins(7) {
                let twins = twins.into_iter();
                let state = shaped(twins.map(|twin| (twin.in_timm, twin.shape_in_timm)));
                assert_eq!(architectures(&state), [one]);
            }
        }
    }

    #[test]
    fn every_network_is_told_by_its_own_weights_and_no_other() {
        // The networks of DINOv2 without and with registers differ by one matrix, those of CLIP by nothing that is stored.
        for one in Architecture::ALL {
            let state = drawn(one);
            let alike = |it: Architecture| {
                it.as_str().replace("quickgelu_", "") == one.as_str().replace("quickgelu_", "")
            };
            let expected: Vec<_> = Architecture::ALL.into_iter().filter(|it| alike(*it)).collect();
            assert_eq!(architectures(&state), expected);
        }
        for known in [
            Architecture::Resnet18,
            Architecture::Resnext50,
            Architecture::Resnet20,
        ] {
            let network = Network::drawn(known, 3, 0, Device::Cpu);
            assert_eq!(architecture(network.state()), Some(known));
            assert_eq!(heads::found(network.state(), known).unwrap().classes, 3);
        }
        assert_eq!(architecture(&StateDict::new()), None);
    }
}
