//! One convolution that is to be computed.

use super::{grid::Grid, shared::Shared};

/// What is to be computed. Activations are `[N, H, W, C]`, dense.
pub(super) struct Tiles<'a> {
    pub input: &'a [f32],
    /// See [`super::transform::kernel`].
    pub kernel: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
    /// To what is there already.
    pub adds: bool,
    pub output: Shared<'a>,
    pub grid: Grid,
    pub from: usize,
    pub to: usize,
}
