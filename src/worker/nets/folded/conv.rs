//! A convolution with the following BatchNorm folded in.

use std::sync::{Arc, OnceLock};

use tch::Tensor;

use super::one_call::OneCall;
use crate::{
    domain::architecture::{
        layer::{Conv2d, Op},
        shape,
    },
    worker::nets::{
        fused::{After, Packed, Shape},
        leaf::padded,
        winograd::Winograd,
    },
};

#[derive(Debug)]
pub(super) struct Conv {
    arithmetic: Arithmetic,
    bias: Tensor,
    design: Conv2d,
    /// Number of values in the kernel.
    numbers: u64,
    one_call: OneCall,
    /// Whether it computes in its form where another is faster, because the input is small.
    keeps_form: bool,
}

#[derive(Debug)]
enum Arithmetic {
    /// The kernel, and its other form once it has been needed.
    Plain(Tensor, OnceLock<Option<Arc<Winograd>>>),
    /// In oneDNN's layout.
    Packed(Packed),
    /// And the plain kernel for inputs for which that is not faster.
    Winograd(Arc<Winograd>, Tensor),
}

impl Conv {
    /// From a kernel `[out, in / groups, side, side]`, channels-last, and a bias `[out]`.
    pub fn new(kernel: Tensor, bias: Tensor, design: Conv2d) -> Self {
        Self {
            numbers: kernel.numel() as u64,
            arithmetic: Arithmetic::Plain(kernel, OnceLock::new()),
            bias,
            design,
            one_call: OneCall::default(),
            keeps_form: false,
        }
    }

    /// See [`super::tree::Tree::packed_for`].
    pub fn packed_for(&self, (count, input): Size) -> (Self, shape::Shape) {
        let output = Op::Conv2d(self.design).output(input);
        let (
            Arithmetic::Plain(kernel, winograd),
            shape::Shape::Map {
                channels,
                height,
                width,
            },
        ) = (&self.arithmetic, input)
        else {
            return (self.share(), output);
        };
        let [rows, columns] = match self.design.even_padding() {
            Some(_) => [0; 2],
            None => self
                .design
                .padding_of([height, width])
                .map(|places| places.iter().sum::<u64>()),
        };
        let size = [
            count,
            channels as i64,
            (height + rows) as i64,
            (width + columns) as i64,
        ];
        let shape = Shape::of(&self.design);
        let mut packed = self.share();
        let winograd = Winograd::pays_for(&size)
            .then(|| winograd.get_or_init(|| Winograd::new(kernel, shape).map(Arc::new)))
            .and_then(Option::as_ref);
        if let Some(winograd) = winograd {
            packed.arithmetic = Arithmetic::Winograd(winograd.clone(), kernel.shallow_clone());
        } else if let Some(direct) = Packed::new(kernel, &self.bias, shape, size) {
            packed.arithmetic = Arithmetic::Packed(direct);
        }
        (packed, output)
    }

    /// The convolution of `input`, fused with what follows it.
    pub fn then(&self, input: &Tensor, after: After) -> Tensor {
        let input = &padded(input, &self.design);
        match (&self.arithmetic, after) {
            (Arithmetic::Packed(packed), after) => packed.forward(input, after),
            (Arithmetic::Winograd(winograd, _), after) if self.is_by_winograd(input) => {
                winograd.forward(input, Some(&self.bias), after)
            }
            (Arithmetic::Plain(kernel, _) | Arithmetic::Winograd(_, kernel), after) => {
                self.plain_then(input, kernel, None, after)
            }
        }
    }

    /// `convolution(input) + shortcut`, fused with what follows it; `shortcut` may be overwritten.
    pub fn forward_sum(&self, input: &Tensor, shortcut: &Tensor, after: After) -> Tensor {
        let input = &padded(input, &self.design);
        match &self.arithmetic {
            Arithmetic::Packed(packed) => packed.forward_into(shortcut, input, after),
            Arithmetic::Winograd(winograd, _) if self.is_by_winograd(input) => {
                winograd.forward_into(shortcut, input, Some(&self.bias), after)
            }
            Arithmetic::Plain(kernel, _) | Arithmetic::Winograd(_, kernel) => {
                self.plain_then(input, kernel, Some(shortcut), after)
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
            design: self.design,
            numbers: self.numbers,
            one_call: self.one_call.clone(),
            keeps_form: self.keeps_form,
        }
    }

    /// The same, computing in its form whatever size its input has.
    pub fn as_for_its_size(&self) -> Self {
        Self {
            keeps_form: true,
            ..self.share()
        }
    }

    fn is_by_winograd(&self, input: &Tensor) -> bool {
        self.keeps_form || Winograd::pays_for(&input.size())
    }

    /// Bytes of the kernel, and of what it shares with its other packed forms.
    pub fn bytes(&self) -> (u64, u64) {
        let kernel = self.numbers * self.bias.kind().elt_size_in_bytes() as u64;
        match &self.arithmetic {
            Arithmetic::Winograd(winograd, _) => (0, kernel + winograd.bytes()),
            _ => (kernel, 0),
        }
    }

    fn plain_then(&self, input: &Tensor, kernel: &Tensor, shortcut: Option<&Tensor>, after: After) -> Tensor {
        let several = || {
            let mut output = self.plain(input, kernel);
            after.in_place(match shortcut {
                Some(shortcut) => output.g_add_(shortcut),
                None => output,
            })
        };
        match after == After::RELU && self.one_call.is_for(input, &self.design) {
            true => {
                let layer = (kernel, &self.bias, Shape::of(&self.design));
                self.one_call.relu(input, layer, shortcut, several)
            }
            false => several(),
        }
    }

    fn plain(&self, input: &Tensor, kernel: &Tensor) -> Tensor {
        let shape = Shape::of(&self.design);
        input.conv2d(
            kernel,
            Some(&self.bias),
            [shape.stride; 2],
            shape.padding,
            [shape.dilation; 2],
            shape.groups,
        )
    }
}

/// Number of images, and the shape of one image's activations.
pub(super) type Size = (i64, shape::Shape);
