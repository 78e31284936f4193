//! Stages in eval mode, for many batches with the same weights: what leaves frozen stages, and validation.

use tch::{Device, Kind, Tensor};

use super::{Network, folded::FoldedStages, layers};
use crate::domain::architecture::Stage;

/// Stages of a network as they were when this was made. They give what [`Network::stages`] gives in eval mode, up to rounding, and are
/// faster.
#[derive(Debug)]
pub struct EvalStages {
    stages: FoldedStages,
    /// The last of them is the last of all, whose activations are pooled.
    pools: bool,
}

impl EvalStages {
    /// The stages after `after` up to and with `last`, for batches of this size, `[N, C, H, W]`; others give the same, only slower. None
    /// where [`Network::stages`] is to be taken itself: only processors, and only with 32-bit floats, are known to gain.
    pub fn of(network: &Network, after: Option<Stage>, last: Stage, size: [i64; 4]) -> Option<Self> {
        let state = network.state();
        let device = state.values().next()?.device();
        if device != Device::Cpu || network.kind() != Kind::Float {
            return None;
        }
        let architecture = network.architecture();
        let stages = FoldedStages::of(architecture, state, (after, last), Kind::Float, device);
        Some(Self {
            stages: stages.packed_for(size),
            pools: last == architecture.last_stage(),
        })
    }

    /// `input` stays as it is.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        let activations = self.stages.forward(input);
        match self.pools {
            true => layers::pooled(&activations),
            false => activations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::architecture::Architecture,
        worker::nets::{
            layers::{Mode, channels_last},
            tests,
        },
    };

    #[test]
    fn any_stages_give_what_the_networks_own_give_and_leave_their_input_alone() {
        for architecture in [
            Architecture::Resnet18,
            Architecture::Resnet50,
            Architecture::Resnet20,
        ] {
            let network = tests::by_formula(architecture, 7);
            let pictures = tests::values("eval", &[3, 3, 64, 64]).to_kind(Kind::Float);
            let pictures = channels_last(&pictures);
            let last = architecture.last_stage();
            let middle = [Stage::Layer1, Stage::Layer2].map(Some);
            for (after, last) in [
                (None, Stage::Layer1),
                (None, last),
                (middle[0], last),
                (middle[1], last),
            ] {
                let (input, expected) = tch::no_grad(|| {
                    let input = after.map(|after| network.stages(&pictures, None, after, Mode::Eval));
                    let input = input.unwrap_or_else(|| pictures.shallow_clone());
                    let expected = network.stages(&input, after, last, Mode::Eval);
                    (input, expected)
                });
                let before = input.copy();
                // Fewer than they are packed for, as the last of a validation's batches.
                let size = input.size4().unwrap();
                let stages = EvalStages::of(&network, after, last, (8, size.1, size.2, size.3).into());
                let found = tch::no_grad(|| stages.unwrap().forward(&input));
                assert_eq!(found.size(), expected.size());
                assert!(
                    input.equal(&before),
                    "{architecture}, {after:?}: the input has changed"
                );
                let scale = expected.abs().max().double_value(&[]).max(1e-3);
                let apart = (found - expected).abs().max().double_value(&[]) / scale;
                assert!(apart < 1e-4, "{architecture}, {after:?} to {last:?}: {apart:e}");
            }
        }
    }

    #[test]
    fn numbers_of_16_bits_are_left_to_the_network() {
        let network = tests::by_formula(Architecture::Resnet20, 2).computing_in(Kind::BFloat16);
        assert!(EvalStages::of(&network, None, Stage::Layer1, [1, 3, 32, 32]).is_none());
    }
}
