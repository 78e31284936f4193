//! Convolutions of oneDNN as libtorch's own compiler uses them on a processor: the kernel in oneDNN's order, put into it once and not anew
//! for every batch, and an activation or the sum with a shortcut done while the result is still in the cache.
//!
//! libtorch has them as operators of the namespace `mkldnn`, which tch cannot call by name; `fused.cpp` does. On processors whose libtorch has
//! no such operators there is none.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr,
};

use tch::Tensor;

use super::foreign;
use crate::domain::architecture::layer::{Activation, Conv2d};

/// What of a convolution is not in its tensors. As in `fused.cpp`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Shape {
    pub stride: i64,
    /// Zeros above and below, and left and right; what is not the same on opposite sides is put there before the convolution.
    pub padding: [i64; 2],
    pub dilation: i64,
    pub groups: i64,
}

impl Shape {
    pub fn of(design: &Conv2d) -> Self {
        Self {
            stride: design.stride as i64,
            padding: design
                .even_padding()
                .unwrap_or_default()
                .map(|places| places as i64),
            dilation: design.dilation as i64,
            groups: design.groups as i64,
        }
    }

    /// Whether it is that of the convolutions that Winograd's filtering is for.
    pub fn is_plain(self) -> bool {
        (self.stride, self.padding, self.dilation, self.groups) == (1, [1, 1], 1, 1)
    }
}

/// What is done with the result at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Nothing,
    Activation(Activation),
}

impl After {
    pub const RELU: After = After::Activation(Activation::Relu);

    /// The same as a step of its own, in place.
    pub fn in_place(self, output: Tensor) -> Tensor {
        match self {
            After::Nothing => output,
            After::Activation(activation) => activate(output, activation),
        }
    }

    /// The name of oneDNN's operation and its bounds; none where it has none.
    fn fused(self) -> Option<(&'static CStr, [f64; 2])> {
        let none = [0.0; 2];
        match self {
            After::Nothing => Some((c"none", none)),
            After::Activation(activation) => match activation {
                Activation::Relu => Some((c"relu", none)),
                Activation::Relu6 => Some((c"hardtanh", [0.0, 6.0])),
                Activation::Silu => Some((c"swish", none)),
                Activation::Gelu => Some((c"gelu", none)),
                Activation::Sigmoid => Some((c"sigmoid", none)),
                Activation::HardSwish => Some((c"hardswish", none)),
                Activation::HardSigmoid | Activation::QuickGelu => None,
            },
        }
    }
}

fn activate(mut output: Tensor, activation: Activation) -> Tensor {
    match activation {
        Activation::Relu => output.relu_(),
        Activation::Relu6 => output.relu6_(),
        Activation::Silu => output.silu_(),
        Activation::Gelu => output.gelu_("none"),
        Activation::Sigmoid => output.sigmoid_(),
        Activation::HardSwish => output.hardswish_(),
        Activation::HardSigmoid => output.hardsigmoid_(),
        Activation::QuickGelu => {
            let share = (&output * 1.702).sigmoid_();
            output.g_mul_(&share)
        }
    }
}

/// A convolution's kernel and bias, in the order that oneDNN wants.
#[derive(Debug)]
pub struct Packed {
    kernel: Tensor,
    bias: Tensor,
    shape: Shape,
}

impl Packed {
    /// Packs a kernel `[out, in / groups, side, side]` for inputs of about this size, `[N, in, H, W]`; others give the same, only slower.
    /// None where libtorch has no such operators.
    pub fn new(kernel: &Tensor, bias: &Tensor, shape: Shape, input: [i64; 4]) -> Option<Self> {
        let mut packed = ptr::null_mut();
        // SAFETY: all pointers are good for the length of the call.
        let fault = unsafe { finetuned_pack(kernel.as_ptr().cast(), &shape, input.as_ptr(), &mut packed) };
        // SAFETY: as `fused.cpp` gives them.
        let kernel = unsafe { foreign::result(fault, packed) }.ok()??;
        Some(Self {
            kernel,
            bias: bias.shallow_clone(),
            shape,
        })
    }

    /// The convolution of `input`, channels-last.
    ///
    /// # Panics
    /// As all arithmetic of tch does, with libtorch's words.
    pub fn forward(&self, input: &Tensor, after: After) -> Tensor {
        let Some((operation, bounds)) = after.fused() else {
            return after.in_place(self.forward(input, After::Nothing));
        };
        let mut output = ptr::null_mut();
        // SAFETY: all pointers are good for the length of the call.
        let fault = unsafe {
            finetuned_packed_convolution(
                input.as_ptr().cast(),
                self.kernel.as_ptr().cast(),
                self.bias.as_ptr().cast(),
                &self.shape,
                operation.as_ptr(),
                bounds.as_ptr(),
                &mut output,
            )
        };
        // SAFETY: as `fused.cpp` gives them.
        unsafe { foreign::tensor(fault, output) }
    }

    /// `convolution(input) + shortcut` and what comes after, written over `shortcut`.
    ///
    /// # Panics
    /// As [`Packed::forward`].
    pub fn forward_into(&self, shortcut: &Tensor, input: &Tensor, after: After) -> Tensor {
        if !matches!(after, After::Nothing | After::RELU) {
            return after.in_place(self.forward_into(shortcut, input, After::Nothing));
        }
        let mut output = ptr::null_mut();
        // SAFETY: all pointers are good for the length of the call.
        let fault = unsafe {
            finetuned_packed_sum(
                shortcut.as_ptr().cast(),
                input.as_ptr().cast(),
                self.kernel.as_ptr().cast(),
                self.bias.as_ptr().cast(),
                &self.shape,
                after == After::RELU,
                &mut output,
            )
        };
        // SAFETY: as `fused.cpp` gives them.
        unsafe { foreign::tensor(fault, output) }
    }

    /// For another thread: the tensors are shared.
    pub fn share(&self) -> Self {
        Self {
            kernel: self.kernel.shallow_clone(),
            bias: self.bias.shallow_clone(),
            shape: self.shape,
        }
    }
}

unsafe extern "C" {
    fn finetuned_pack(
        kernel: *const c_void,
        shape: *const Shape,
        input_size: *const i64,
        output: *mut *mut c_void,
    ) -> *mut c_char;

    fn finetuned_packed_convolution(
        input: *const c_void,
        kernel: *const c_void,
        bias: *const c_void,
        shape: *const Shape,
        operation: *const c_char,
        bounds: *const f64,
        output: *mut *mut c_void,
    ) -> *mut c_char;

    fn finetuned_packed_sum(
        shortcut: *const c_void,
        input: *const c_void,
        kernel: *const c_void,
        bias: *const c_void,
        shape: *const Shape,
        relu: bool,
        output: *mut *mut c_void,
    ) -> *mut c_char;
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::worker::nets::{layers::channels_last, tests};

    fn values(seed: &str, size: &[i64]) -> Tensor {
        tests::values(seed, size).to_kind(Kind::Float)
    }

    #[test]
    fn they_give_what_convolution_sum_and_relu_give_one_after_the_other() {
        for (groups, stride, side) in [(1, 1, 3), (1, 2, 1), (4, 2, 3), (1, 2, 7)] {
            let kernel = channels_last(&values("kernel", &[8, 16 / groups, side, side]));
            let (bias, input) = (
                values("bias", &[8]),
                channels_last(&values("input", &[2, 16, 20, 20])),
            );
            let shape = Shape {
                stride,
                padding: [side / 2; 2],
                dilation: 1,
                groups,
            };
            let plain = input.conv2d(&kernel, Some(&bias), [stride; 2], [side / 2; 2], [1, 1], groups);
            let packed = Packed::new(&kernel, &bias, shape, [4, 16, 20, 20]).expect("x86 has them");
            let apart = |found: &Tensor, expected: &Tensor| {
                assert_eq!(found.size(), expected.size());
                (found - expected).abs().max().double_value(&[])
            };
            assert!(apart(&packed.forward(&input, After::Nothing), &plain) < 1e-4);
            let shared = packed.share();
            let all = [
                (Activation::Relu, plain.relu()),
                (Activation::Relu6, plain.relu6()),
                (Activation::Silu, plain.silu()),
                (Activation::Gelu, plain.gelu("none")),
                (Activation::Sigmoid, plain.sigmoid()),
                (Activation::HardSwish, plain.hardswish()),
                (Activation::HardSigmoid, plain.hardsigmoid()),
                (Activation::QuickGelu, &plain * (&plain * 1.702).sigmoid()),
            ];
            for (activation, expected) in all {
                let after = After::Activation(activation);
                assert!(
                    apart(&shared.forward(&input, after), &expected) < 1e-4,
                    "{activation:?}"
                );
                assert!(
                    apart(&after.in_place(plain.copy()), &expected) < 1e-6,
                    "{activation:?}"
                );
            }
            let sum = &plain + channels_last(&values("shortcut", &plain.size()));
            for (after, expected) in [
                (After::Nothing, sum.shallow_clone()),
                (After::RELU, sum.relu()),
                (After::Activation(Activation::Silu), sum.silu()),
            ] {
                let shortcut = channels_last(&values("shortcut", &plain.size()));
                assert!(apart(&packed.forward_into(&shortcut, &input, after), &expected) < 1e-4);
                assert!(apart(&shortcut, &expected) < 1e-4, "it is written over");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_in_libtorchs_words() {
        let (kernel, bias) = (values("kernel", &[8, 16, 3, 3]), values("bias", &[8]));
        let shape = Shape {
            stride: 1,
            padding: [1; 2],
            dilation: 1,
            groups: 1,
        };
        let packed = Packed::new(&kernel, &bias, shape, [1, 16, 8, 8]).expect("x86 has them");
        let fault =
            crate::worker::fault::caught(|| packed.forward(&values("input", &[1, 5, 8, 8]), After::RELU));
        assert!(fault.is_err());
    }
}
