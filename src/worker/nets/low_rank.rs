//! Low-rank changes of matrices (Hu et al. 2021, "LoRA"): what is trained beside a weight that stays as it is.
//!
//! A network that has the tensors of [`files::adapters`](crate::worker::files::adapters) computes each change apart, so that the weight needs no gradient and can be shared;
//! [`merge`](crate::worker::files::adapters::merge) adds it to the weight.

use tch::Tensor;

use super::initialise;
use crate::{
    domain::{
        architecture::{Architecture, adapters::Matrix, init::Init},
        spec::Lora,
    },
    worker::files::{adapters::names, state::StateDict},
};

/// The change of one matrix.
#[derive(Debug)]
pub struct LowRank {
    /// `[rank, from]`
    pub down: Tensor,
    /// `[to, rank]`
    pub up: Tensor,
    /// A number.
    pub scale: Tensor,
}

impl LowRank {
    /// Adds to the outputs `[rows, to]` of inputs `[rows, from]`, in their own memory: they are large, and the change is not.
    fn add_to(&self, mut output: Tensor, input: &Tensor) -> Tensor {
        let kind = input.kind();
        let [down, up, scale] = [&self.down, &self.up, &self.scale].map(|tensor| tensor.to_kind(kind));
        // The narrow one is scaled: it has fewer numbers.
        let narrow = input.linear(&down, None::<&Tensor>) * scale;
        output.addmm_(&narrow, &up.tr())
    }

    /// For another thread: the tensors are shared.
    pub fn share(&self) -> Self {
        Self {
            down: self.down.shallow_clone(),
            up: self.up.shallow_clone(),
            scale: self.scale.shallow_clone(),
        }
    }

    pub fn numbers(&self) -> u64 {
        [&self.down, &self.up, &self.scale]
            .map(|tensor| tensor.numel() as u64)
            .iter()
            .sum()
    }
}

/// A matrix, its bias, and its change.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    /// `[to, from]`
    pub weight: &'a Tensor,
    /// `[to]`
    pub bias: Option<&'a Tensor>,
    pub low_rank: Option<&'a LowRank>,
}

impl Affine<'_> {
    /// For inputs `[…, from]`, in their type: `[…, to]`.
    pub fn of(&self, input: &Tensor) -> Tensor {
        let kind = input.kind();
        let bias = self.bias.map(|bias| bias.to_kind(kind));
        let linear = |input: &Tensor| input.linear(&self.weight.to_kind(kind), bias.as_ref());
        let Some(low_rank) = self.low_rank else {
            return linear(input);
        };
        // As a matrix, so that the output is no view, of which autograd would copy the gradients.
        let mut size = input.size();
        let rows = input.reshape([-1, size.pop().unwrap_or(1)]);
        let output = low_rank.add_to(linear(&rows), &rows);
        size.push(output.size()[1]);
        output.view(size.as_slice())
    }
}

/// The tensors of changes that change nothing yet: `lora_A` is drawn as the weights of `torch.nn.Linear` (as in the paper's own program),
/// `lora_B` is 0.
pub fn drawn(architecture: Architecture, lora: &Lora, seed: u64) -> StateDict {
    let rank = i64::from(lora.rank);
    let mut state = StateDict::new();
    for Matrix { name, to, from, .. } in architecture.low_rank_matrices(lora.targets) {
        let [down, up, scale] = names(&name);
        let values = initialise::draw(Init::linear(from), seed, &down, &[rank, from as i64]);
        state.insert(down, values);
        state.insert(
            up.clone(),
            initialise::draw(Init::Zeros, seed, &up, &[to as i64, rank]),
        );
        state.insert(scale, Tensor::from(lora.scale() as f32));
    }
    state
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::{
        domain::architecture::adapters::LowRankTargets,
        worker::{
            autograd::without_gradients,
            files::adapters::{merge, weight_of},
            nets::{
                Network,
                folded::{Folded, Form},
                layers::channels_last,
                tests,
            },
        },
    };

    fn named(name: &str) -> Architecture {
        let found = Architecture::names().into_iter().find(|(own, _)| *own == name);
        found.unwrap().1
    }

    /// A network with changes that change something.
    fn adapted(architecture: Architecture, targets: LowRankTargets) -> Network {
        let plain = tests::by_formula(architecture, 4);
        let lora = Lora {
            rank: 4,
            alpha: 6.0,
            targets,
        };
        let network = plain.with_low_rank(&lora, 3).unwrap();
        without_gradients(|| {
            for (name, tensor) in network
                .state()
                .iter()
                .filter(|(name, _)| name.ends_with(".lora_B"))
            {
                let values = tests::values(name, &tensor.size()) * 0.1;
                tensor.shallow_clone().copy_(&values.to_kind(Kind::Float));
            }
        });
        network
    }

    #[test]
    fn a_change_gives_the_same_apart_and_merged() {
        for (name, targets) in [
            ("vit_tiny_patch16_224", LowRankTargets::Attention),
            ("vit_tiny_patch16_224", LowRankTargets::Linear),
            ("vit_b_32", LowRankTargets::Attention),
            ("swin_t", LowRankTargets::Linear),
            ("vit_small_patch16_dinov3", LowRankTargets::Attention),
        ] {
            let architecture = named(name);
            let network = adapted(architecture, targets);
            let side = tests::sides(architecture).pop().unwrap();
            let images = channels_last(&tests::values("adapted", &[2, 3, side, side]).to_kind(Kind::Float));
            let apart = network.logits(&images);
            let mut state: StateDict = network
                .state()
                .iter()
                .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
                .collect();
            merge(&mut state);
            let merged = Network::loaded(architecture, network.outputs(), &state, Device::Cpu).unwrap();
            let scale = apart.abs().max().double_value(&[]).max(1.0);
            let off = |found: &Tensor| (found - &apart).abs().max().double_value(&[]) / scale;
            assert!(off(&merged.logits(&images)) <= 1e-5, "{name}");
            let plain = tests::by_formula(architecture, 4);
            assert!(off(&plain.logits(&images)) > 1e-3, "{name}: it changes nothing");
            let folded = Folded::of(&network, Kind::Float, Device::Cpu).packed_for(2, side);
            assert!(off(&folded.logits(&images)) <= 1e-5, "{name}, folded");
        }
    }

    #[test]
    fn adapters_share_what_they_do_not_change() {
        let architecture = named("vit_tiny_patch16_224");
        let network = adapted(architecture, LowRankTargets::Attention);
        let (own, base): (StateDict, StateDict) = network
            .state()
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .partition(|(name, _)| weight_of(name).is_some() || name.starts_with("head."));
        let all: u64 = base.values().map(|tensor| 4 * tensor.numel() as u64).sum();
        let weights = crate::worker::files::adapters::joined(&base, own);
        let folded = |shares| {
            let form = Form {
                kind: Kind::Float,
                device: Device::Cpu,
                shares,
            };
            Folded::of_weights(architecture, network.outputs(), &weights, form).packed_for(2, 64)
        };
        // All but the convolution of the patches and what comes after the last stage.
        assert!(folded(true).bytes_shared_with(&base) * 10 > all * 9);
        assert_eq!(folded(false).bytes_shared_with(&base), 0);
    }

    #[test]
    fn a_new_change_changes_nothing_and_its_parts_are_held_to_their_shapes() {
        let architecture = named("vit_tiny_patch16_224");
        let plain = tests::by_formula(architecture, 3);
        let lora = Lora {
            rank: 2,
            alpha: 4.0,
            targets: LowRankTargets::Attention,
        };
        let images = tests::values("new", &[1, 3, 64, 64]).to_kind(Kind::Float);
        let before = plain.logits(&images);
        let network = plain.with_low_rank(&lora, 1).unwrap();
        assert!(network.logits(&images).equal(&before));
        let learning = network.parameters();
        assert_eq!(
            learning.iter().filter(|it| weight_of(&it.name).is_some()).count(),
            48
        );

        let mut wrong: StateDict = network
            .state()
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        let [down, up, _] = names("blocks.3.attn.proj.weight");
        wrong.insert(up.clone(), Tensor::zeros([192, 3], (Kind::Float, Device::Cpu)));
        let fault = Network::loaded(architecture, network.outputs(), &wrong, Device::Cpu).unwrap_err();
        assert_eq!(fault.unusable[0].name, up);
        wrong.remove(&up);
        let fault = Network::loaded(architecture, network.outputs(), &wrong, Device::Cpu).unwrap_err();
        assert_eq!(fault.missing[0].name, up);
        let whole = wrong.remove(&down).unwrap();
        wrong.insert(names("blocks.3.attn.projected.weight")[0].clone(), whole);
        assert!(Network::loaded(architecture, network.outputs(), &wrong, Device::Cpu).is_err());
    }
}
