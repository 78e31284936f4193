//! A convolution into which the BatchNorm after it went.

use std::sync::{Arc, OnceLock};

use tch::Tensor;

use crate::worker::nets::{
    fused::{After, Packed, Shape},
    winograd::Winograd,
};

#[derive(Debug)]
pub(super) struct Conv {
    arithmetic: Arithmetic,
    bias: Tensor,
    shape: Shape,
    /// Numbers of the kernel.
    numbers: u64,
}

#[derive(Debug)]
enum Arithmetic {
    /// The kernel, and its other form once somebody asked for it.
    Plain(Tensor, OnceLock<Option<Arc<Winograd>>>),
    /// In oneDNN's order.
    Packed(Packed),
    /// And the kernel for activations that it does not pay for.
    Winograd(Arc<Winograd>, Tensor),
}

impl Conv {
    /// Of a kernel `[out, in / groups, side, side]`, channels-last, and a bias `[out]`.
    pub fn new(kernel: Tensor, bias: Tensor, shape: Shape) -> Self {
        Self {
            numbers: kernel.numel() as u64,
            arithmetic: Arithmetic::Plain(kernel, OnceLock::new()),
            bias,
            shape,
        }
    }

    /// The same in the form that is fastest for inputs of this size, `[N, C, H, W]`, and the size of what comes out. What two forms of one
    /// convolution have in common is in memory once.
    pub fn packed_for(&self, size: [i64; 4]) -> (Self, [i64; 4]) {
        let Arithmetic::Plain(kernel, winograd) = &self.arithmetic else {
            return (self.share(), size);
        };
        let (channels, side) = (kernel.size()[0], kernel.size()[2]);
        let Shape { stride, padding, .. } = self.shape;
        let length = |length: i64| (length + 2 * padding - side) / stride + 1;
        let output = [size[0], channels, length(size[2]), length(size[3])];
        let mut packed = self.share();
        let winograd = Winograd::pays_for(&size)
            .then(|| winograd.get_or_init(|| Winograd::new(kernel, self.shape).map(Arc::new)))
            .and_then(Option::as_ref);
        if let Some(winograd) = winograd {
            packed.arithmetic = Arithmetic::Winograd(winograd.clone(), kernel.shallow_clone());
        } else if let Some(direct) = Packed::new(kernel, &self.bias, self.shape, size) {
            packed.arithmetic = Arithmetic::Packed(direct);
        }
        (packed, output)
    }

    pub fn forward(&self, input: &Tensor) -> Tensor {
        self.then(input, After::Nothing)
    }

    pub fn forward_relu(&self, input: &Tensor) -> Tensor {
        self.then(input, After::Relu)
    }

    fn then(&self, input: &Tensor, after: After) -> Tensor {
        match (&self.arithmetic, after) {
            (Arithmetic::Packed(packed), after) => packed.forward(input, after),
            (Arithmetic::Winograd(winograd, _), after) if Winograd::pays_for(&input.size()) => {
                winograd.forward(input, Some(&self.bias), after)
            }
            (Arithmetic::Plain(kernel, _) | Arithmetic::Winograd(_, kernel), After::Relu) => {
                self.plain(input, kernel).relu_()
            }
            (Arithmetic::Plain(kernel, _) | Arithmetic::Winograd(_, kernel), After::Nothing) => {
                self.plain(input, kernel)
            }
        }
    }

    /// `relu(convolution(input) + shortcut)`; `shortcut` may be written over.
    pub fn forward_sum_relu(&self, input: &Tensor, shortcut: &Tensor) -> Tensor {
        match &self.arithmetic {
            Arithmetic::Packed(packed) => packed.forward_into(shortcut, input),
            Arithmetic::Winograd(winograd, _) if Winograd::pays_for(&input.size()) => {
                winograd.forward_into(shortcut, input, Some(&self.bias))
            }
            Arithmetic::Plain(kernel, _) | Arithmetic::Winograd(_, kernel) => {
                self.plain(input, kernel).g_add_(shortcut).relu_()
            }
        }
    }

    /// For another thread: the tensors are shared.
    pub fn share(&self) -> Self {
        Self {
            arithmetic: match &self.arithmetic {
                Arithmetic::Plain(kernel, winograd) => {
                    Arithmetic::Plain(kernel.shallow_clone(), winograd.clone())
                }
                Arithmetic::Packed(packed) => Arithmetic::Packed(packed.share()),
                Arithmetic::Winograd(winograd, kernel) => {
                    Arithmetic::Winograd(winograd.clone(), kernel.shallow_clone())
                }
            },
            bias: self.bias.shallow_clone(),
            shape: self.shape,
            numbers: self.numbers,
        }
    }

    /// Bytes of the kernel, and of what it shares with its other packed forms.
    pub fn bytes(&self) -> (u64, u64) {
        let kernel = self.numbers * self.bias.kind().elt_size_in_bytes() as u64;
        match &self.arithmetic {
            Arithmetic::Winograd(winograd, _) => (0, kernel + winograd.bytes()),
            _ => (kernel, 0),
        }
    }

    fn plain(&self, input: &Tensor, kernel: &Tensor) -> Tensor {
        let Shape {
            stride,
            padding,
            groups,
        } = self.shape;
        input.conv2d(
            kernel,
            Some(&self.bias),
            [stride; 2],
            [padding; 2],
            [1, 1],
            groups,
        )
    }
}
