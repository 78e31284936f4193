//! Networks for inference: every BatchNorm is folded into the convolution before it, nothing is trained, nothing is counted.
//!
//! Built from a [`Network`] by its design and its named tensors; used by `predict`, which compares each with its original network before it
//! answers any request ([`distance`]).

mod conv;
mod fold;
mod one_call;
mod stages;
mod tree;

use std::collections::HashSet;

use tch::{Device, Kind, Tensor};

use super::Network;
use crate::domain::architecture::{Architecture, Outputs, Stage};
use crate::worker::{
    autograd::{with_gradients, without_gradients},
    files::state::StateDict,
};

pub use self::{fold::Form, stages::FoldedStages};

/// A network for inference on a device, computing in one kind of float. The head always computes in 32-bit floats.
#[derive(Debug)]
pub struct Folded {
    architecture: Architecture,
    kind: Kind,
    device: Device,
    stages: FoldedStages,
    pooling: FoldedStages,
    head: FoldedStages,
}

impl Folded {
    /// Folds in 64-bit floats, then rounds to `kind`. The network may be on another device.
    pub fn of(network: &Network, kind: Kind, device: Device) -> Self {
        let form = Form {
            kind,
            device,
            shares: false,
        };
        Self::of_weights(network.architecture(), network.outputs(), network.state(), form)
    }

    /// The network with exactly these weights, which are known to fit.
    pub fn of_weights(architecture: Architecture, outputs: Outputs, weights: &StateDict, form: Form) -> Self {
        let design = architecture.design();
        let all = (None, architecture.last_stage());
        let in_floats = Form {
            kind: Kind::Float,
            ..form
        };
        Self {
            architecture,
            kind: form.kind,
            device: form.device,
            stages: FoldedStages::of(design, weights, all, form),
            pooling: FoldedStages::pooling(design, weights, in_floats),
            head: FoldedStages::head(design, outputs, weights, form),
        }
    }

    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// The same network, faster on a CPU with images of this size; the results differ by rounding. On other devices it is unchanged.
    pub fn packed_for(&self, batch: i64, side: i64) -> Self {
        let network = self.share();
        if self.device != Device::Cpu || self.kind != Kind::Float {
            return network;
        }
        Self {
            stages: self.stages.packed_for([batch, 3, side, side]),
            ..network
        }
    }

    /// Bytes of its own kernels, and of those that it shares with other networks packed from the same one.
    pub fn bytes(&self) -> (u64, u64) {
        self.stages.bytes()
    }

    /// Bytes of those of its tensors that are also in `weights`, in the same memory.
    pub fn bytes_shared_with(&self, weights: &StateDict) -> u64 {
        let theirs: HashSet<_> = weights.values().map(Tensor::data_ptr).collect();
        self.stages
            .bytes_of(&|tensor| theirs.contains(&tensor.data_ptr()))
    }

    /// The same network for another thread: its tensors are shared, not copied.
    pub fn share(&self) -> Self {
        Self {
            architecture: self.architecture,
            kind: self.kind,
            device: self.device,
            stages: self.stages.share(),
            pooling: self.pooling.share(),
            head: self.head.share(),
        }
    }

    /// The same network, each layer computing as it does for the size that it was packed for, also where images are smaller: to be compared with
    /// its original at little cost.
    pub fn as_for_its_size(&self) -> Self {
        Self {
            stages: self.stages.as_for_its_size(),
            ..self.share()
        }
    }

    /// The output of the last stage before pooling, `[N, features, h, w]`, for images `[N, 3, H, W]`.
    pub fn activations(&self, images: &Tensor) -> Tensor {
        self.stages
            .forward(&images.to_device(self.device).to_kind(self.kind))
    }

    /// The output of an earlier stage, 32-bit floats, for images `[N, 3, H, W]`.
    pub fn activations_at(&self, stage: Stage, images: &Tensor) -> Tensor {
        let images = images.to_device(self.device).to_kind(self.kind);
        without_gradients(|| self.stages.until(stage, &images).to_kind(Kind::Float))
    }

    /// The feature vectors `[N, features]`, 32-bit floats, for the output of [`Folded::activations`].
    pub fn features(&self, activations: &Tensor) -> Tensor {
        self.pooling.forward(&activations.to_kind(Kind::Float))
    }

    /// Logits `[N, classes]` of feature vectors.
    pub fn head(&self, features: &Tensor) -> Tensor {
        self.head.forward(features)
    }

    /// Logits `[N, classes]` of images.
    pub fn logits(&self, images: &Tensor) -> Tensor {
        without_gradients(|| self.head(&self.features(&self.activations(images))))
    }

    /// The evidence for a class at each position of an image, not below 0: `[h, w]` (Grad-CAM, Selvaraju et al. 2017, equations 1 and 2). Of
    /// a convolutional network at the output of its last stage, `activations`. Of a transformer, where only the class token of that output
    /// counts, at the patches that the last block is given, which is computed again from `image`, `[1, 3, H, W]`.
    pub fn evidence(&self, image: &Tensor, activations: &Tensor, class: i64) -> Tensor {
        let is_map = activations.dim() == 4;
        let given = match is_map {
            true => activations.to_kind(Kind::Float),
            false => self
                .stages
                .before_last(&image.to_kind(self.kind))
                .to_kind(Kind::Float),
        };
        let given = given.detach().copy().set_requires_grad(true);
        let gradient = with_gradients(|| {
            let last = match is_map {
                true => given.shallow_clone(),
                false => self.stages.last(&given.to_kind(self.kind)),
            };
            let logit = self.head(&self.features(&last)).select(1, class).sum(Kind::Float);
            Tensor::run_backward(&[logit], &[&given], false, false).remove(0)
        });
        let given = given.detach();
        match is_map {
            true => grad_cam(&given.squeeze_dim(0), &gradient.squeeze_dim(0)),
            false => grad_cam(&patches(&given), &patches(&gradient)),
        }
    }
}

/// The largest difference between numbers and those that are `expected`, relative to the largest of these (or to 1 where all are smaller).
/// None if they are not finite, so that there is nothing to compare.
pub fn distance(expected: &Tensor, found: &Tensor) -> Option<f64> {
    let expected = expected.to_device(Device::Cpu);
    let largest = expected.abs().max().double_value(&[]);
    if !largest.is_finite() {
        return None;
    }
    let distance = (found.to_device(Device::Cpu) - expected)
        .abs()
        .max()
        .double_value(&[]);
    let distance = if distance.is_nan() {
        f64::INFINITY
    } else {
        distance
    };
    Some(distance / largest.max(1.0))
}

/// The channels of `[C, h, w]`, weighted by their mean gradients.
fn grad_cam(activations: &Tensor, gradient: &Tensor) -> Tensor {
    let weights = gradient.mean_dim([1i64, 2].as_slice(), true, Kind::Float);
    let weighted = activations * weights;
    weighted
        .sum_dim_intlist([0i64].as_slice(), false, Kind::Float)
        .relu()
}

/// The last tokens of `[1, T, C]`, as many as make a square, as `[C, h, w]`.
fn patches(tokens: &Tensor) -> Tensor {
    let (_, count, features) = tokens.size3().expect("tokens have three dimensions");
    let side = count.isqrt();
    let patches = tokens.narrow(1, count - side * side, side * side);
    patches.view([side, side, features]).permute([2, 0, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::nets::{
        layers::{Mode, channels_last},
        tests,
    };

    fn images(side: i64) -> Tensor {
        let images = (tests::values("folded", &[2, 3, side, side]) * 2.0).to_kind(Kind::Float);
        channels_last(&images)
    }

    #[test]
    fn every_architecture_computes_the_same_when_it_is_folded() {
        for architecture in tests::one_of_each_family() {
            let network = tests::by_formula(architecture, 7);
            let folded = Folded::of(&network, Kind::Float, Device::Cpu);
            let usual = tests::sides(architecture).into_iter().find(|side| *side >= 64);
            let usual = usual.expect("one of them fits");
            let off = distance(&network.logits(&images(usual)), &folded.logits(&images(usual)))
                .expect("the logits are finite");
            assert!(off < 1e-4, "{architecture} is off by {off:e}");
            let shared = folded.share().logits(&images(usual));
            assert!(shared.equal(&folded.logits(&images(usual))), "{architecture}");
            let packed = folded.packed_for(4, usual);
            for side in tests::sides(architecture) {
                let distance = distance(&network.logits(&images(side)), &packed.logits(&images(side)))
                    .expect("the logits are finite");
                assert!(
                    distance < 1e-4,
                    "{architecture}, {side} px: packed, it is off by {distance:e}"
                );
            }
            let small = tests::sides(architecture)
                .into_iter()
                .min()
                .expect("there is one");
            let all = packed.as_for_its_size().logits(&images(small));
            let off = distance(&network.logits(&images(small)), &all).expect("the logits are finite");
            assert!(
                off < 1e-4,
                "{architecture}: in the form for {usual} px it is off by {off:e}"
            );
            let (once, again) = (
                packed.logits(&images(usual)),
                packed.share().logits(&images(usual)),
            );
            assert!(once.equal(&again), "{architecture}: packed");
        }
    }

    #[test]
    fn a_network_that_computes_something_else_is_far_from_it() {
        let (one, other) = (1, 2);
        let drawn = |seed| Network::drawn(Architecture::Resnet20, 5, seed, Device::Cpu);
        let folded = Folded::of(&drawn(one), Kind::Float, Device::Cpu);
        assert!(distance(&drawn(one).logits(&images(32)), &folded.logits(&images(32))).unwrap() < 1e-4);
        assert!(distance(&drawn(other).logits(&images(32)), &folded.logits(&images(32))).unwrap() > 1e-2);
    }

    #[test]
    fn every_head_computes_the_same_and_is_explained_by_its_slope() {
        for head in tests::HEADS {
            let network = tests::with_head(Architecture::Resnet20, head, 3);
            let folded = Folded::of(&network, Kind::Float, Device::Cpu);
            for folded in [folded.packed_for(2, 64), folded.share()] {
                let distance = distance(&network.logits(&images(64)), &folded.logits(&images(64))).unwrap();
                assert!(distance < 1e-4, "{head:?} is off by {distance:e}");
            }
            let activations = folded.activations(&images(64)).detach();
            let found = without_gradients(|| {
                let own = [0, 1].map(|index| [&images(64), &activations].map(|all| all.narrow(0, index, 1)));
                Tensor::stack(&own.map(|[image, own]| folded.evidence(&image, &own, 1)), 0)
            });
            let moved = activations.set_requires_grad(true);
            let logit = folded
                .head(&folded.features(&moved))
                .select(1, 1)
                .sum(Kind::Float);
            let gradient = Tensor::run_backward(&[logit], &[&moved], false, false).remove(0);
            let alpha = gradient.mean_dim([2i64, 3].as_slice(), true, Kind::Float);
            let expected = (alpha * moved.detach())
                .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
                .relu();
            let scale = expected.max().double_value(&[]).max(1e-6);
            let off = (found - expected).abs().max().double_value(&[]) / scale;
            assert!(off < 1e-4, "{head:?}: {off:e}");
        }
    }

    #[test]
    fn the_feature_vector_is_the_networks_own() {
        let network = tests::by_formula(Architecture::Resnet50, 3);
        let folded = Folded::of(&network, Kind::Float, Device::Cpu);
        let last = Architecture::Resnet50.last_stage();
        let expected = without_gradients(|| network.stages(&images(64), None, last, Mode::Eval));
        let features = folded.features(&folded.activations(&images(64)));
        assert_eq!(features.size(), [2, 2048]);
        let scale = expected.abs().max().double_value(&[]);
        let off = (features - expected).abs().max().double_value(&[]) / scale;
        assert!(off < 1e-4, "{off:e}");
    }

    #[test]
    fn evidence_is_grad_cam_by_differentiation() {
        let network = tests::by_formula(Architecture::Resnet18, 4);
        let folded = Folded::of(&network, Kind::Float, Device::Cpu);
        let activations = folded.activations(&images(96)).set_requires_grad(true);
        let class = 2;
        let logit = folded
            .head(&folded.features(&activations))
            .select(1, class)
            .sum(Kind::Float);
        let gradient = Tensor::run_backward(&[logit], &[&activations], false, false).remove(0);
        // Selvaraju et al. 2017, equations 1 and 2.
        let alpha = gradient.mean_dim([2i64, 3].as_slice(), true, Kind::Float);
        let expected = (alpha * activations.detach())
            .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
            .relu();
        for index in 0..2 {
            let own = activations.detach().narrow(0, index, 1);
            let found = folded.evidence(&images(96).narrow(0, index, 1), &own, class);
            assert_eq!(found.size(), [3, 3]);
            let off = (found - expected.get(index)).abs().max().double_value(&[]);
            assert!(off < 1e-4 * expected.max().double_value(&[]), "{off:e}");
        }
        assert!(expected.max().double_value(&[]) > 0.0);
    }

    #[test]
    fn the_evidence_of_a_transformer_is_grad_cam_at_the_patches_that_its_last_block_is_given() {
        for name in ["vit_tiny_patch16_224", "vit_small_plus_patch16_dinov3"] {
            let architecture = Architecture::ALL
                .into_iter()
                .find(|it| it.as_str() == name)
                .unwrap();
            let network = tests::by_formula(architecture, 7);
            let folded = Folded::of(&network, Kind::Float, Device::Cpu);
            let image = images(64).narrow(0, 0, 1);
            let [.., before, last] = architecture.stages()[..] else {
                panic!("it has blocks");
            };
            let given = without_gradients(|| network.stages(&image, None, before, Mode::Eval));
            let given = given.set_requires_grad(true);
            let features = network.stages(&given, Some(before), last, Mode::Eval);
            let logit = network.head(&features).select(1, 3).sum(Kind::Float);
            let gradient = Tensor::run_backward(&[logit], &[&given], false, false).remove(0);
            // 16 patches, after the class token and any registers.
            let patches = |tokens: &Tensor| tokens.get(0).narrow(0, tokens.size()[1] - 16, 16);
            let alpha = patches(&gradient).mean_dim([0i64].as_slice(), true, Kind::Float);
            let weighted = patches(&given.detach()) * alpha;
            let expected = weighted
                .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
                .relu();
            let activations = without_gradients(|| folded.activations(&image));
            let found = without_gradients(|| folded.evidence(&image, &activations, 3));
            let scale = expected.max().double_value(&[]);
            assert!(scale > 0.0, "{name}");
            let off = (found.flatten(0, -1) - expected).abs().max().double_value(&[]);
            assert!(off < 1e-4 * scale, "{name}: {off:e} of {scale:e}");
        }
    }

    #[test]
    fn every_family_shows_where_it_saw_a_class() {
        for architecture in tests::one_of_each_family() {
            let network = tests::by_formula(architecture, 7);
            let side = tests::sides(architecture).pop().expect("one of them fits");
            let folded = Folded::of(&network, Kind::Float, Device::Cpu).packed_for(1, side);
            let image = images(side).narrow(0, 0, 1);
            let activations = without_gradients(|| folded.activations(&image));
            let map = without_gradients(|| folded.evidence(&image, &activations, 3));
            let side = map.size()[0];
            assert_eq!(map.size(), [side, side], "{architecture}");
            assert!(
                side > 1 && map.isfinite().all().int64_value(&[]) == 1,
                "{architecture}"
            );
        }
    }
}
