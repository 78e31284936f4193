//! Networks for answering: every BatchNorm folded into the convolution before it, nothing that learns, nothing that counts.
//!
//! Made of a [`Network`] by its design and its named tensors; `predict` computes with it, and holds each to the network that it was
//! made of before it answers anybody ([`Folded::distance_from`]).

use tch::{Device, Kind, Tensor};

use super::{
    Network,
    fused::{After, Packed, Shape},
    layers::channels_last,
};
use crate::{
    domain::architecture::{
        Architecture,
        design::{self, Convolution, Design},
    },
    worker::state::StateDict,
};

/// BatchNorm's, as torch has it.
const EPSILON: f64 = 1e-5;

/// A network that only answers, on a device, in the numbers of one kind. The head computes in 32-bit floats whatever that kind is.
#[derive(Debug)]
pub struct Folded {
    architecture: Architecture,
    kind: Kind,
    device: Device,
    stem: Conv,
    pooling: bool,
    blocks: Vec<Block>,
    head_weight: Tensor,
    head_bias: Tensor,
}

/// A convolution and the BatchNorm that was after it.
#[derive(Debug)]
struct Conv {
    arithmetic: Arithmetic,
    shape: Shape,
}

#[derive(Debug)]
enum Arithmetic {
    Plain {
        kernel: Tensor,
        bias: Tensor,
    },
    /// See [`Folded::packed_for`].
    Packed(Packed),
}

#[derive(Debug)]
struct Block {
    branch: Vec<Conv>,
    shortcut: Shortcut,
}

#[derive(Debug)]
enum Shortcut {
    Identity,
    Projection(Conv),
    Padded { stride: i64, channels: i64 },
}

impl Folded {
    /// Folds in 64-bit floats, then rounds to `kind`. The network may be on another device.
    pub fn of(network: &Network, kind: Kind, device: Device) -> Self {
        let architecture = network.architecture();
        let fold = Fold {
            state: network.state(),
            kind,
            device,
        };
        let design = Design::of(architecture);
        let stem = design.stem();
        let mut blocks = Vec::new();
        for (stage, designs) in design.blocks() {
            for (index, block) in designs.iter().enumerate() {
                blocks.push(fold.block(&format!("{}.{index}.", stage.as_str()), block));
            }
        }
        let head = |part: &str| {
            let name = format!("{}.{part}", architecture.head());
            network.state()[&name].to_device(device).to_kind(Kind::Float)
        };
        Self {
            architecture,
            kind,
            device,
            stem: fold.conv("", ["conv1", "bn1"], &stem.convolution),
            pooling: stem.pooling,
            blocks,
            head_weight: head("weight"),
            head_bias: head("bias"),
        }
    }

    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The same network, faster on a processor with pictures of this size; the results differ by rounding. On other devices it stays as it
    /// is.
    pub fn packed_for(mut self, batch: i64, side: i64) -> Self {
        if self.device != Device::Cpu || self.kind != Kind::Float {
            return self;
        }
        let mut size = [batch, 3, side, side];
        size = self.stem.pack(size);
        if self.pooling {
            size = after_pooling(size);
        }
        for block in &mut self.blocks {
            size = block.pack(size);
        }
        self
    }

    /// The same network for another thread: its tensors are shared, not copied.
    pub fn share(&self) -> Self {
        Self {
            architecture: self.architecture,
            kind: self.kind,
            device: self.device,
            stem: self.stem.share(),
            pooling: self.pooling,
            blocks: self.blocks.iter().map(Block::share).collect(),
            head_weight: self.head_weight.shallow_clone(),
            head_bias: self.head_bias.shallow_clone(),
        }
    }

    /// What leaves the last stage before it is pooled, `[N, features, h, w]`, of pictures `[N, 3, H, W]`.
    pub fn activations(&self, pictures: &Tensor) -> Tensor {
        let input = pictures.to_device(self.device).to_kind(self.kind);
        let mut activations = self.stem.forward_relu(&input);
        if self.pooling {
            activations = activations.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        }
        for block in &self.blocks {
            activations = block.forward(activations);
        }
        activations
    }

    /// The feature vectors `[N, features]`, 32-bit floats, of what [`Folded::activations`] gives.
    pub fn features(&self, activations: &Tensor) -> Tensor {
        let pooled = activations.to_kind(Kind::Float).adaptive_avg_pool2d([1, 1]);
        pooled.flatten(1, -1)
    }

    /// Logits `[N, classes]` of feature vectors.
    pub fn head(&self, features: &Tensor) -> Tensor {
        features.linear(&self.head_weight, Some(&self.head_bias))
    }

    /// Logits `[N, classes]` of pictures.
    pub fn logits(&self, pictures: &Tensor) -> Tensor {
        tch::no_grad(|| self.head(&self.features(&self.activations(pictures))))
    }

    /// How much each place of the activations speaks for a class, not below 0: `[N, h, w]` (Grad-CAM, Selvaraju et al. 2017). In a
    /// network that ends with an average pooling and one linear layer, the gradient that weighs a channel is, up to a constant, that
    /// layer's weight of the channel, so nothing has to be differentiated.
    pub fn evidence(&self, activations: &Tensor, class: i64) -> Tensor {
        let weights = self.head_weight.get(class).view([1, -1, 1, 1]);
        let weighted = activations.to_kind(Kind::Float) * weights;
        weighted
            .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
            .relu()
    }

    /// The largest difference between the logits of this network and of the one that it was made of, as a share of the largest logit
    /// (or of 1 where all are smaller). None where the latter's are not finite, so that there is nothing to compare.
    pub fn distance_from(&self, network: &Network, pictures: &Tensor) -> Option<f64> {
        let expected = network.logits(pictures).to_device(Device::Cpu);
        let largest = expected.abs().max().double_value(&[]);
        if !largest.is_finite() {
            return None;
        }
        let found = self.logits(pictures).to_device(Device::Cpu);
        let distance = (found - expected).abs().max().double_value(&[]);
        Some(
            if distance.is_nan() {
                f64::INFINITY
            } else {
                distance
            } / largest.max(1.0),
        )
    }
}

/// Makes convolutions out of the tensors of a network.
struct Fold<'a> {
    state: &'a StateDict,
    kind: Kind,
    device: Device,
}

impl Fold<'_> {
    fn block(&self, prefix: &str, design: &design::Block) -> Block {
        let branch = (1..).zip(&design.branch).map(|(number, convolution)| {
            self.conv(
                prefix,
                [&format!("conv{number}"), &format!("bn{number}")],
                convolution,
            )
        });
        Block {
            branch: branch.collect(),
            shortcut: match &design.shortcut {
                design::Shortcut::Identity => Shortcut::Identity,
                design::Shortcut::Projection(convolution) => {
                    Shortcut::Projection(self.conv(prefix, ["downsample.0", "downsample.1"], convolution))
                }
                design::Shortcut::Padded { stride, channels } => Shortcut::Padded {
                    stride: *stride as i64,
                    channels: *channels as i64,
                },
            },
        }
    }

    /// `y = (conv(x) - mean) / sqrt(var + epsilon) * weight + bias` as one convolution with a bias.
    fn conv(&self, prefix: &str, [conv, norm]: [&str; 2], design: &Convolution) -> Conv {
        let tensor = |name: String| self.state[&name].to_device(Device::Cpu).to_kind(Kind::Double);
        let of_norm = |part: &str| tensor(format!("{prefix}{norm}.{part}"));
        let factor = of_norm("weight") / (of_norm("running_var") + EPSILON).sqrt();
        let weight = tensor(format!("{prefix}{conv}.weight")) * factor.view([-1, 1, 1, 1]);
        let bias = of_norm("bias") - of_norm("running_mean") * factor;
        let placed = |tensor: Tensor| tensor.to_kind(self.kind).to_device(self.device);
        Conv {
            arithmetic: Arithmetic::Plain {
                kernel: channels_last(&placed(weight)),
                bias: placed(bias),
            },
            shape: Shape {
                stride: design.stride as i64,
                padding: (design.side / 2) as i64,
                groups: design.groups as i64,
            },
        }
    }
}

/// Of activations `[N, C, H, W]`, by a pooling of 3 × 3 pixels, every other one, with one around.
fn after_pooling([count, channels, height, width]: [i64; 4]) -> [i64; 4] {
    [count, channels, (height - 1) / 2 + 1, (width - 1) / 2 + 1]
}

impl Conv {
    /// For inputs of this size, `[N, C, H, W]`; what comes out has the size that is returned.
    fn pack(&mut self, size: [i64; 4]) -> [i64; 4] {
        let Arithmetic::Plain { kernel, bias } = &self.arithmetic else {
            return size;
        };
        let (channels, side) = (kernel.size()[0], kernel.size()[2]);
        let Shape { stride, padding, .. } = self.shape;
        let length = |length: i64| (length + 2 * padding - side) / stride + 1;
        let output = [size[0], channels, length(size[2]), length(size[3])];
        if let Some(packed) = Packed::new(kernel, bias, self.shape, size) {
            self.arithmetic = Arithmetic::Packed(packed);
        }
        output
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        match &self.arithmetic {
            Arithmetic::Packed(packed) => packed.forward(input, After::Nothing),
            Arithmetic::Plain { kernel, bias } => self.plain(input, kernel, bias),
        }
    }

    fn forward_relu(&self, input: &Tensor) -> Tensor {
        match &self.arithmetic {
            Arithmetic::Packed(packed) => packed.forward(input, After::Relu),
            Arithmetic::Plain { kernel, bias } => self.plain(input, kernel, bias).relu_(),
        }
    }

    /// `relu(convolution(input) + shortcut)`; `shortcut` may be written over.
    fn forward_sum_relu(&self, input: &Tensor, shortcut: &Tensor) -> Tensor {
        match &self.arithmetic {
            Arithmetic::Packed(packed) => packed.forward_into(shortcut, input),
            Arithmetic::Plain { kernel, bias } => self.plain(input, kernel, bias).g_add_(shortcut).relu_(),
        }
    }

    fn plain(&self, input: &Tensor, kernel: &Tensor, bias: &Tensor) -> Tensor {
        let Shape {
            stride,
            padding,
            groups,
        } = self.shape;
        input.conv2d(kernel, Some(bias), [stride; 2], [padding; 2], [1, 1], groups)
    }

    fn share(&self) -> Self {
        Self {
            arithmetic: match &self.arithmetic {
                Arithmetic::Packed(packed) => Arithmetic::Packed(packed.share()),
                Arithmetic::Plain { kernel, bias } => Arithmetic::Plain {
                    kernel: kernel.shallow_clone(),
                    bias: bias.shallow_clone(),
                },
            },
            shape: self.shape,
        }
    }
}

impl Block {
    fn pack(&mut self, size: [i64; 4]) -> [i64; 4] {
        if let Shortcut::Projection(projection) = &mut self.shortcut {
            projection.pack(size);
        }
        self.branch.iter_mut().fold(size, |size, conv| conv.pack(size))
    }

    /// `input` may be written over.
    fn forward(&self, input: Tensor) -> Tensor {
        let Some((last, before)) = self.branch.split_last() else {
            return input;
        };
        let mut activations = input.shallow_clone();
        for conv in before {
            activations = conv.forward_relu(&activations);
        }
        match &self.shortcut {
            Shortcut::Identity => last.forward_sum_relu(&activations, &input),
            Shortcut::Projection(projection) => {
                last.forward_sum_relu(&activations, &projection.forward(&input))
            }
            Shortcut::Padded { stride, channels } => {
                let fewer = input.slice(2, None, None, *stride).slice(3, None, None, *stride);
                let padded = fewer.constant_pad_nd([0, 0, 0, 0, *channels, *channels]);
                last.forward(&activations).g_add_(&padded).relu_()
            }
        }
    }

    fn share(&self) -> Self {
        Self {
            branch: self.branch.iter().map(Conv::share).collect(),
            shortcut: match &self.shortcut {
                Shortcut::Identity => Shortcut::Identity,
                Shortcut::Projection(projection) => Shortcut::Projection(projection.share()),
                Shortcut::Padded { stride, channels } => Shortcut::Padded {
                    stride: *stride,
                    channels: *channels,
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::nets::{layers::Mode, tests};

    fn pictures(side: i64) -> Tensor {
        let pictures = (tests::values("folded", &[2, 3, side, side]) * 2.0).to_kind(Kind::Float);
        channels_last(&pictures)
    }

    #[test]
    fn every_architecture_computes_the_same_when_it_is_folded() {
        for architecture in Architecture::ALL {
            let network = tests::by_formula(architecture, 7);
            let folded = Folded::of(&network, Kind::Float, Device::Cpu);
            let distance = folded
                .distance_from(&network, &pictures(64))
                .expect("the logits are finite");
            assert!(distance < 1e-4, "{architecture} is off by {distance:e}");
            let shared = folded.share().logits(&pictures(64));
            assert!(shared.equal(&folded.logits(&pictures(64))), "{architecture}");
            let packed = folded.packed_for(4, 64);
            for side in [32, 64, 70] {
                let distance = packed
                    .distance_from(&network, &pictures(side))
                    .expect("the logits are finite");
                assert!(
                    distance < 1e-4,
                    "{architecture}, {side} px: packed, it is off by {distance:e}"
                );
            }
            let (once, again) = (packed.logits(&pictures(64)), packed.share().logits(&pictures(64)));
            assert!(once.equal(&again), "{architecture}: packed");
        }
    }

    #[test]
    fn a_network_that_computes_something_else_is_far_from_it() {
        let (one, other) = (1, 2);
        let drawn = |seed| Network::drawn(Architecture::Resnet20, 5, seed, Device::Cpu);
        let folded = Folded::of(&drawn(one), Kind::Float, Device::Cpu);
        assert!(folded.distance_from(&drawn(one), &pictures(32)).unwrap() < 1e-4);
        assert!(folded.distance_from(&drawn(other), &pictures(32)).unwrap() > 1e-2);
    }

    #[test]
    fn the_feature_vector_is_the_networks_own() {
        let network = tests::by_formula(Architecture::Resnet50, 3);
        let folded = Folded::of(&network, Kind::Float, Device::Cpu);
        let last = Architecture::Resnet50.last_stage();
        let expected = tch::no_grad(|| network.stages(&pictures(64), None, last, Mode::Eval));
        let features = folded.features(&folded.activations(&pictures(64)));
        assert_eq!(features.size(), [2, 2048]);
        let scale = expected.abs().max().double_value(&[]);
        let off = (features - expected).abs().max().double_value(&[]) / scale;
        assert!(off < 1e-4, "{off:e}");
    }

    #[test]
    fn evidence_is_grad_cam_by_differentiation() {
        let network = tests::by_formula(Architecture::Resnet18, 4);
        let folded = Folded::of(&network, Kind::Float, Device::Cpu);
        let activations = folded.activations(&pictures(96)).set_requires_grad(true);
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
        let found = folded.evidence(&activations.detach(), class);
        assert_eq!(found.size(), [2, 3, 3]);
        let scaled = |map: &Tensor| map / map.max();
        let off = (scaled(&found) - scaled(&expected)).abs().max().double_value(&[]);
        assert!(off < 1e-4, "{off:e}");
        assert!(expected.max().double_value(&[]) > 0.0);
    }
}
