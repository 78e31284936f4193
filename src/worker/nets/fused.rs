//! Convolutions of oneDNN as libtorch's own compiler uses them on a processor: the kernel in oneDNN's order, put into it once and not anew
//! for every batch, and ReLU or the sum with a shortcut done while the result is still in the cache.
//!
//! libtorch has them as operators of the namespace `mkldnn`, which tch cannot call by name; `fused.cpp` does. On processors whose libtorch has
//! no such operators there is none.

use std::{
    ffi::{c_char, c_void},
    ptr,
};

use tch::Tensor;

use super::foreign;
use crate::domain::architecture::layer::Conv2d;

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
    Relu,
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
        let mut output = ptr::null_mut();
        // SAFETY: all pointers are good for the length of the call.
        let fault = unsafe {
            finetuned_packed_convolution(
                input.as_ptr().cast(),
                self.kernel.as_ptr().cast(),
                self.bias.as_ptr().cast(),
                &self.shape,
                after == After::Relu,
                &mut output,
            )
        };
        // SAFETY: as `fused.cpp` gives them.
        unsafe { foreign::tensor(fault, output) }
    }

    /// `relu(convolution(input) + shortcut)`, written over `shortcut`.
    ///
    /// # Panics
    /// As [`Packed::forward`].
    pub fn forward_into(&self, shortcut: &Tensor, input: &Tensor) -> Tensor {
        let mut output = ptr::null_mut();
        // SAFETY: all pointers are good for the length of the call.
        let fault = unsafe {
            finetuned_packed_sum(
                shortcut.as_ptr().cast(),
                input.as_ptr().cast(),
                self.kernel.as_ptr().cast(),
                self.bias.as_ptr().cast(),
                &self.shape,
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
        relu: bool,
        output: *mut *mut c_void,
    ) -> *mut c_char;

    fn finetuned_packed_sum(
        shortcut: *const c_void,
        input: *const c_void,
        kernel: *const c_void,
        bias: *const c_void,
        shape: *const Shape,
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
            assert!(apart(&shared.forward(&input, After::Relu), &plain.relu()) < 1e-4);
            let shortcut = channels_last(&values("shortcut", &plain.size()));
            let sum = (&plain + &shortcut).relu();
            assert!(apart(&packed.forward_into(&shortcut, &input), &sum) < 1e-4);
            assert!(apart(&shortcut, &sum) < 1e-4, "it is written over");
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
            crate::worker::fault::caught(|| packed.forward(&values("input", &[1, 5, 8, 8]), After::Relu));
        assert!(fault.is_err());
    }
}
