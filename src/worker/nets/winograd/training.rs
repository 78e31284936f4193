//! A convolution that learns, in Winograd's form: its output, and the gradients of its input and of its kernel. libtorch's autograd asks
//! for them through `function.cpp`.
//!
//! The gradient of the input is a convolution with the kernel turned by half a turn. That of the kernel is in [`super::gradient`].

use std::{
    ffi::{c_char, c_void},
    ptr, slice,
};

use fearless_simd::Level;
use tch::{Device, Kind, Tensor};

use super::{
    super::{foreign, fused::Shape},
    Winograd,
    gradient::KernelGradient,
    grid::Grid,
    level::lanes_of,
    product,
    shared::Shared,
    task::Tiles,
    threads::Threads,
    transform::{self, Direct},
};

/// The convolution of `input`, `[N, in, H, W]`, with `kernel`, `[out, in, 3, 3]`: `[N, out, H, W]`, channels-last, and with a gradient for
/// both. None where this form does not pay or cannot be: see [`Winograd`]; both numbers of channels must fit.
pub fn convolution(input: &Tensor, kernel: &Tensor, shape: Shape) -> Option<Tensor> {
    #[cfg(test)]
    if tests::IS_LEFT_TO_LIBTORCH.get() {
        return None;
    }
    let pays = Winograd::pays_for(&input.size()) && fits(input, kernel, shape);
    pays.then(|| computed(input, kernel))
}

/// What the bits of these convolutions depend on besides their numbers, in words; nothing where there are none of them. To be changed with
/// the arithmetic.
pub fn form(device: Device, kind: Kind) -> String {
    match (device, kind, Threads::of_libtorch()) {
        (Device::Cpu, Kind::Float, Some(_)) => {
            let lanes = lanes_of(Level::new());
            format!("Winograd's convolutions (1) with registers of {lanes} numbers")
        }
        _ => String::new(),
    }
}

fn fits(input: &Tensor, kernel: &Tensor, shape: Shape) -> bool {
    let plain = |tensor: &Tensor| tensor.kind() == Kind::Float && tensor.device() == Device::Cpu;
    let columns = product::columns(lanes_of(Level::new()));
    let Ok((to, from, 3, 3)) = kernel.size4() else {
        return false;
    };
    let even = |channels: i64| (channels as usize).is_multiple_of(columns);
    shape.is_plain()
        && plain(input)
        && plain(kernel)
        && columns >= product::columns(8)
        && even(to)
        && even(from)
        && input.size()[1] == from
        && Threads::of_libtorch().is_some()
}

fn computed(input: &Tensor, kernel: &Tensor) -> Tensor {
    let mut output = ptr::null_mut();
    // SAFETY: all pointers are good for the length of the call, the functions for ever, and they take what they are declared to.
    let fault = unsafe {
        finetuned_convolution(
            input.as_ptr().cast(),
            kernel.as_ptr().cast(),
            &COMPUTATIONS,
            &mut output,
        )
    };
    // SAFETY: as `function.cpp` gives them.
    unsafe { foreign::tensor(fault, output) }
}

/// As in `function.cpp`.
#[repr(C)]
struct Sizes {
    count: i64,
    height: i64,
    width: i64,
    from: i64,
    to: i64,
}

type Computation = unsafe extern "C" fn(&Sizes, *const f32, *const f32, *mut f32);

/// As in `function.cpp`.
#[repr(C)]
struct Computations {
    output: Computation,
    input_gradient: Computation,
    kernel_gradient: Computation,
}

static COMPUTATIONS: Computations = Computations {
    output,
    input_gradient,
    kernel_gradient,
};

unsafe extern "C" {
    fn finetuned_convolution(
        input: *const c_void,
        kernel: *const c_void,
        computations: *const Computations,
        output: *mut *mut c_void,
    ) -> *mut c_char;
}

unsafe extern "C" fn output(sizes: &Sizes, input: *const f32, kernel: *const f32, output: *mut f32) {
    // SAFETY: `function.cpp` passes dense tensors of these sizes.
    unsafe {
        let input = slice::from_raw_parts(input, sizes.pixels() * sizes.from());
        let output = Shared::at(output, sizes.pixels() * sizes.to());
        sizes.convolve(input, sizes.kernel(kernel, false), output);
    }
}

unsafe extern "C" fn input_gradient(
    sizes: &Sizes,
    gradient: *const f32,
    kernel: *const f32,
    output: *mut f32,
) {
    // SAFETY: as above.
    unsafe {
        let gradient = slice::from_raw_parts(gradient, sizes.pixels() * sizes.to());
        let output = Shared::at(output, sizes.pixels() * sizes.from());
        sizes.convolve(gradient, sizes.kernel(kernel, true), output);
    }
}

unsafe extern "C" fn kernel_gradient(
    sizes: &Sizes,
    input: *const f32,
    gradient: *const f32,
    output: *mut f32,
) {
    // SAFETY: as above.
    let (work, output) = unsafe {
        let work = KernelGradient {
            input: slice::from_raw_parts(input, sizes.pixels() * sizes.from()),
            gradient: slice::from_raw_parts(gradient, sizes.pixels() * sizes.to()),
            grid: sizes.grid(),
            from: sizes.from(),
            to: sizes.to(),
        };
        (work, Shared::at(output, sizes.to() * 9 * sizes.from()))
    };
    work.compute(Level::new(), threads(), &output);
}

impl Sizes {
    fn from(&self) -> usize {
        self.from as usize
    }

    fn to(&self) -> usize {
        self.to as usize
    }

    fn grid(&self) -> Grid {
        Grid {
            count: self.count as usize,
            height: self.height as usize,
            width: self.width as usize,
        }
    }

    fn pixels(&self) -> usize {
        (self.count * self.height * self.width) as usize
    }

    unsafe fn kernel<'a>(&self, numbers: *const f32, turned: bool) -> Direct<'a> {
        Direct {
            // SAFETY: the caller's promise.
            numbers: unsafe { slice::from_raw_parts(numbers, self.to() * 9 * self.from()) },
            out: self.to(),
            input: self.from(),
            turned,
        }
    }

    fn convolve(&self, input: &[f32], direct: Direct<'_>, output: Shared<'_>) {
        let (from, to) = direct.channels();
        let kernel = transform::kernel(Level::new(), threads(), direct);
        let tiles = Tiles {
            input,
            kernel: &kernel,
            bias: None,
            relu: false,
            adds: false,
            output,
            grid: self.grid(),
            from,
            to,
        };
        tiles.compute(Level::new(), threads());
    }
}

fn threads() -> Threads {
    Threads::of_libtorch().expect("it was there when the convolution was computed")
}

#[cfg(test)]
pub(super) mod tests;
