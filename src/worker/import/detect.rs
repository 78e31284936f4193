//! Detects the network from the shapes of its convolutions: no two known networks have the same ones.

use super::refusal::Refusal;
use crate::{
    domain::{architecture::Head, spec::Architecture},
    worker::{files::state::StateDict, nets::heads},
};

/// The network whose convolutions have exactly these shapes.
pub fn architecture(weights: &StateDict) -> Option<Architecture> {
    let mut found: Vec<Vec<i64>> = weights
        .values()
        .map(|tensor| tensor.size())
        .filter(|size| size.len() == 4)
        .collect();
    found.sort_unstable();
    Architecture::ALL
        .into_iter()
        .find(|architecture| convolutions(*architecture) == found)
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

/// Shapes `[to, from / groups, side, side]` of all convolutions, sorted.
fn convolutions(architecture: Architecture) -> Vec<Vec<i64>> {
    let tensors = architecture.design().tensors(0).into_iter();
    let shapes = tensors
        .map(|(_, _, tensor)| tensor.shape)
        .filter(|shape| shape.len() == 4);
    let mut shapes: Vec<Vec<i64>> = shapes
        .map(|shape| shape.into_iter().map(|length| length as i64).collect())
        .collect();
    shapes.sort_unstable();
    shapes
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::worker::nets::Network;

    #[test]
    fn every_network_is_told_by_its_own_weights_and_no_other() {
        for one in Architecture::ALL {
            for other in Architecture::ALL {
                assert_eq!(
                    convolutions(one) == convolutions(other),
                    one == other,
                    "{one}, {other}"
                );
            }
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
