//! Stages in eval mode, for many batches with the same weights: for frozen stages and for validation.

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use super::{
    Network,
    folded::{FoldedStages, Form},
    layers::Mode,
};
use crate::{
    domain::architecture::Stage,
    worker::fault::{self, TorchFault},
};

/// The stages after `after` up to and including `last` of a network that does not change. They compute the same as [`Network::stages`] in
/// eval mode, up to rounding, and are faster on CPUs with 32-bit floats and on cards: elsewhere they are the network's own.
#[derive(Debug)]
pub struct EvalStages {
    after: Option<Stage>,
    last: Stage,
    /// Set once the size of the input is known.
    folded: OnceCell<Option<Folded>>,
}

#[derive(Debug)]
struct Folded {
    stages: FoldedStages,
    /// Where they end with the network's last stage.
    pooling: Option<FoldedStages>,
}

impl EvalStages {
    pub fn new(after: Option<Stage>, last: Stage) -> Self {
        Self {
            after,
            last,
            folded: OnceCell::new(),
        }
    }

    /// Ready for batches of this size, `[N, C, H, W]`; others give the same results, only slower. The first call captures the weights: the
    /// network must not have changed in any later call.
    pub fn ready<'a>(&'a self, network: &'a Network, size: [i64; 4]) -> Result<ReadyStages<'a>, TorchFault> {
        let folded = match self.folded.get() {
            Some(folded) => folded,
            None => {
                let folded = fault::caught(|| self.fold(network, size))?;
                self.folded.get_or_init(|| folded)
            }
        };
        Ok(ReadyStages {
            of: self,
            network,
            folded: folded.as_ref(),
        })
    }

    /// None where folding is not known to be faster.
    fn fold(&self, network: &Network, size: [i64; 4]) -> Option<Folded> {
        let device = network.state().values().next()?.device();
        match (device, network.kind()) {
            (Device::Cpu, Kind::Float) => {
                let folded = Folded::of(self, network, device);
                Some(Folded {
                    stages: folded.stages.packed_for(size),
                    ..folded
                })
            }
            (Device::Cuda(_), _) => Some(Folded::of(self, network, device)),
            _ => None,
        }
    }
}

impl Folded {
    /// Computing in the floats that the network computes in.
    fn of(stages: &EvalStages, network: &Network, device: Device) -> Self {
        let (architecture, state) = (network.architecture(), network.state());
        let (design, range) = (architecture.design(), (stages.after, stages.last));
        // The network may be trained on.
        let form = Form {
            kind: network.kind(),
            device,
            shares: false,
        };
        let in_floats = Form {
            kind: Kind::Float,
            ..form
        };
        Self {
            stages: FoldedStages::of(design, state, range, form),
            pooling: (stages.last == architecture.last_stage())
                .then(|| FoldedStages::pooling(design, state, in_floats)),
        }
    }
}

/// See [`EvalStages::ready`].
#[derive(Clone, Copy, Debug)]
pub struct ReadyStages<'a> {
    of: &'a EvalStages,
    network: &'a Network,
    folded: Option<&'a Folded>,
}

impl ReadyStages<'_> {
    /// The output of the last stage; pooled, `[N, C]`, if it is the network's last. `input` is not modified.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        let EvalStages { after, last, .. } = *self.of;
        let Some(folded) = self.folded else {
            return self.network.stages(input, after, last, Mode::Eval);
        };
        let input = input.to_kind(self.network.kind());
        let activations = folded.stages.forward(&input).to_kind(Kind::Float);
        match &folded.pooling {
            Some(pooling) => pooling.forward(&activations),
            None => activations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::autograd::without_gradients;
    use crate::{
        domain::architecture::Architecture,
        worker::nets::{layers::channels_last, tests},
    };

    #[test]
    fn any_stages_give_what_the_networks_own_give_and_leave_their_input_alone() {
        for architecture in [
            Architecture::Resnet18,
            Architecture::Resnet50,
            Architecture::Resnet20,
        ] {
            let network = tests::by_formula(architecture, 7);
            let images = tests::values("eval", &[3, 3, 64, 64]).to_kind(Kind::Float);
            let images = channels_last(&images);
            let last = architecture.last_stage();
            // ResNet-18's and ResNet-20's first layer begins with an identity, which would overwrite its input.
            for (after, last) in [
                (None, Stage::layer(1)),
                (None, last),
                (Some(Stage::STEM), last),
                (Some(Stage::layer(1)), last),
                (Some(Stage::layer(2)), last),
            ] {
                let (input, expected) = without_gradients(|| {
                    let input = after.map(|after| network.stages(&images, None, after, Mode::Eval));
                    let input = input.unwrap_or_else(|| images.shallow_clone());
                    let expected = network.stages(&input, after, last, Mode::Eval);
                    (input, expected)
                });
                let before = input.copy();
                // Fewer than they are packed for, like the last batch of a validation.
                let size = input.size4().unwrap();
                let stages = EvalStages::new(after, last);
                let ready = stages.ready(&network, [8, size.1, size.2, size.3]).unwrap();
                assert!(ready.folded.is_some());
                let found = without_gradients(|| ready.forward(&input));
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
        let stages = EvalStages::new(None, Stage::layer(1));
        let ready = stages.ready(&network, [1, 3, 32, 32]).unwrap();
        assert!(ready.folded.is_none());
        let images = tests::values("eval", &[1, 3, 32, 32]).to_kind(Kind::Float);
        without_gradients(|| {
            let own = network.stages(&images, None, Stage::layer(1), Mode::Eval);
            assert!(ready.forward(&images).equal(&own));
        });
    }

    /// As on a card.
    #[test]
    fn folded_in_16_bits_they_give_what_the_network_gives_in_them() {
        let network = tests::by_formula(Architecture::Resnet20, 2).computing_in(Kind::BFloat16);
        let images = channels_last(&tests::values("eval", &[2, 3, 32, 32]).to_kind(Kind::Float));
        for last in [Stage::layer(2), Architecture::Resnet20.last_stage()] {
            let stages = EvalStages::new(None, last);
            let folded = Folded::of(&stages, &network, Device::Cpu);
            let ready = ReadyStages {
                of: &stages,
                network: &network,
                folded: Some(&folded),
            };
            without_gradients(|| {
                let (found, own) = (
                    ready.forward(&images),
                    network.stages(&images, None, last, Mode::Eval),
                );
                assert_eq!((found.size(), found.kind()), (own.size(), own.kind()));
                let scale = own.abs().max().double_value(&[]);
                let apart = (found - own).abs().max().double_value(&[]) / scale;
                assert!(apart < 0.05, "{last:?}: {apart:e}");
            });
        }
    }
}
