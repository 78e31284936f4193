//! Convolutions of 3 × 3 with a quarter of the multiplications: Winograd's minimal filtering F(4×4, 3×3), after Lavin and Gray 2015,
//! "Fast Algorithms for Convolutional Neural Networks". On a processor they are computed two to three times as fast as oneDNN's direct ones,
//! and they are most of a ResNet-18's work.
//!
//! Images are cut into tiles of 4 × 4 pixels, each seen with one pixel more around. A tile and the kernel are brought into a form of
//! 6 × 6 numbers for each pair of channels ([`transform`]), where the convolution is a product of matrices for each of the 36 places
//! ([`tiles`]). What comes out differs from the direct convolution by rounding, about a hundred-thousandth of the largest value, and does not
//! depend on what else is in the batch, nor on the number of threads. The same holds of its gradients ([`training`]), but that a kernel's
//! is of all images together.

mod block;
mod dense;
mod gradient;
mod grid;
mod level;
mod memory;
mod product;
mod shared;
mod task;
mod threads;
mod tiles;
mod training;
mod transform;

#[cfg(test)]
pub(crate) use self::training::tests::left_to_libtorch;
pub use self::training::{convolution, form};

use fearless_simd::Level;
use tch::{Device, Kind, Tensor};

use self::{
    dense::floats, grid::Grid, level::lanes_of, shared::Shared, task::Tiles, threads::Threads,
    transform::Direct,
};
use super::{
    fused::{After, Shape},
    layers::contiguous_channels_last,
};

/// A kernel in Winograd's form.
#[derive(Debug)]
pub struct Winograd {
    /// See [`transform::kernel`].
    kernel: Vec<f32>,
    from: usize,
    to: usize,
    level: Level,
    threads: Threads,
}

impl Winograd {
    /// Of an image: fewer are not worth fetching the kernel for, which is four times as large in this form.
    const FEWEST_TILES: i64 = 12;

    /// Of a kernel `[out, in, 3, 3]`. None where it does not pay or cannot be: other shapes, strides and groups, few channels, other
    /// numbers than 32-bit floats on a processor with wide registers, no libgomp.
    pub fn new(kernel: &Tensor, shape: Shape) -> Option<Self> {
        Self::on(Level::new(), kernel, shape)
    }

    fn on(level: Level, kernel: &Tensor, shape: Shape) -> Option<Self> {
        let lanes = lanes_of(level);
        let (to, from, height, width) = kernel.size4().ok()?;
        let fits = (height, width) == (3, 3)
            && shape.is_plain()
            && kernel.device() == Device::Cpu
            && kernel.kind() == Kind::Float
            && lanes >= 8;
        let (to, from) = (usize::try_from(to).ok()?, usize::try_from(from).ok()?);
        if !fits || !from.is_multiple_of(lanes) || !to.is_multiple_of(product::columns(lanes)) {
            return None;
        }
        let threads = Threads::of_libtorch()?;
        let kernel = contiguous_channels_last(kernel);
        let direct = Direct {
            // SAFETY: nobody else has this tensor, or it is a model's, which does not change.
            numbers: unsafe { floats(&kernel) },
            out: to,
            input: from,
            turned: false,
        };
        let kernel = transform::kernel(level, threads, direct);
        Some(Self {
            kernel,
            from,
            to,
            level,
            threads,
        })
    }

    /// Whether it pays for activations of this size, `[N, C, H, W]`. How many images there are does not count, so that what it gives
    /// for an image does not depend on the others.
    pub fn pays_for(activations: &[i64]) -> bool {
        let [_, _, height, width] = activations else {
            return false;
        };
        let tiles = |length: i64| (length + 3) / 4;
        tiles(*height) * tiles(*width) >= Self::FEWEST_TILES
    }

    /// The convolution of `input`, `[N, in, H, W]`, and a bias `[out]`: `[N, out, H, W]`, channels-last.
    pub fn forward(&self, input: &Tensor, bias: Option<&Tensor>, after: After) -> Tensor {
        let (count, _, height, width) = input.size4().expect("activations have four dimensions");
        let output = Tensor::empty([count, height, width, self.to as i64], (Kind::Float, Device::Cpu));
        let output = output.permute([0, 3, 1, 2]);
        self.compute(input, bias, after == After::RELU, &output, false);
        if after == After::RELU {
            output
        } else {
            after.in_place(output)
        }
    }

    /// `convolution(input) + shortcut` and what comes after, written over `shortcut`, `[N, out, H, W]`.
    pub fn forward_into(
        &self,
        shortcut: &Tensor,
        input: &Tensor,
        bias: Option<&Tensor>,
        after: After,
    ) -> Tensor {
        let output = contiguous_channels_last(shortcut);
        self.compute(input, bias, after == After::RELU, &output, true);
        if after == After::RELU {
            output
        } else {
            after.in_place(output)
        }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        size_of_val(self.kernel.as_slice()) as u64
    }

    fn compute(&self, input: &Tensor, bias: Option<&Tensor>, relu: bool, output: &Tensor, adds: bool) {
        let input = contiguous_channels_last(input);
        let (count, from, height, width) = input.size4().expect("activations have four dimensions");
        let expected = [count, self.to as i64, height, width];
        assert_eq!(from, self.from as i64, "the kernel is for other channels");
        assert_eq!(output.size(), expected, "the output has another size");
        let bias = bias.map(Tensor::contiguous);
        // SAFETY: this call writes to the output only, which is none of the others, and nobody else computes with these meanwhile.
        let (numbers, biases, places) = unsafe {
            (
                floats(&input),
                bias.as_ref().map(|bias| floats(bias)),
                Shared::of(output),
            )
        };
        let tiles = Tiles {
            input: numbers,
            kernel: &self.kernel,
            bias: biases,
            relu,
            adds,
            output: places,
            grid: Grid {
                count: count as usize,
                height: height as usize,
                width: width as usize,
            },
            from: self.from,
            to: self.to,
        };
        tiles.compute(self.level, self.threads);
    }
}

#[cfg(test)]
mod tests;
