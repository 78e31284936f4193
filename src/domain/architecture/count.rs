//! How large a network is: parameters and multiply-adds, summed over the layers of its design.

use super::{
    Architecture,
    design::{Convolution, Design, Shortcut},
};

impl Architecture {
    /// Numbers that can learn, with a head of `classes`: weights of convolutions, scale and shift of BatchNorm, weights and biases of the
    /// head. PyTorch counts the same with `sum(p.numel() for p in model.parameters())`.
    pub fn parameters(self, classes: u64) -> u64 {
        let design = Design::of(self);
        let (mut sum, side) = (0, u64::from(self.native_size()));
        each_convolution(&design, side, |convolution, _| {
            sum += convolution.weights() + 2 * convolution.to;
        });
        sum + (design.features() + 1) * classes
    }

    /// Multiplications, each with its addition, for one picture of `side × side` pixels: of convolutions and the head, which is what
    /// torchvision publishes as GFLOPS. BatchNorm, pooling and additions are not counted.
    pub fn multiply_adds(self, classes: u64, side: u32) -> u64 {
        let design = Design::of(self);
        let mut sum = 0;
        each_convolution(&design, side.into(), |convolution, places| {
            sum += convolution.weights() * places;
        });
        sum + design.features() * classes
    }
}

impl Convolution {
    fn weights(&self) -> u64 {
        self.to * (self.from / self.groups) * self.side * self.side
    }

    /// Side of what leaves it.
    fn shrink(&self, side: u64) -> u64 {
        shrunk(side, self.side, self.stride)
    }
}

/// Side of what leaves a window that is padded by half of its own side.
fn shrunk(side: u64, window: u64, stride: u64) -> u64 {
    (side + 2 * (window / 2)).saturating_sub(window) / stride + 1
}

/// Calls `each` with every convolution and the number of places that it computes in a picture of `side × side`.
fn each_convolution(design: &Design, mut side: u64, mut each: impl FnMut(&Convolution, u64)) {
    let mut visit = |convolution: &Convolution, side: u64| {
        let after = convolution.shrink(side);
        each(convolution, after * after);
        after
    };
    let stem = design.stem();
    side = visit(&stem.convolution, side);
    if stem.pooling {
        side = shrunk(side, 3, 2);
    }
    for (_, blocks) in design.blocks() {
        for block in blocks {
            if let Shortcut::Projection(projection) = &block.shortcut {
                visit(projection, side);
            }
            for convolution in &block.branch {
                side = visit(convolution, side);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        architectures: BTreeMap<String, Counted>,
    }

    /// What PyTorch counts, see `scripts/parity`.
    #[derive(Deserialize)]
    struct Counted {
        classes: u64,
        parameters: u64,
        multiply_adds: u64,
        /// As torchvision publishes it, in units of 10⁹; none for what torchvision does not have.
        published_gflops: Option<f64>,
    }

    #[test]
    fn parameters_and_multiply_adds_are_what_pytorch_counts() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parity.json");
        let golden: Golden = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(golden.architectures.len(), Architecture::ALL.len());
        for architecture in Architecture::ALL {
            let counted = &golden.architectures[architecture.as_str()];
            let multiply_adds = architecture.multiply_adds(counted.classes, architecture.native_size());
            assert_eq!(
                architecture.parameters(counted.classes),
                counted.parameters,
                "{architecture}"
            );
            assert_eq!(multiply_adds, counted.multiply_adds, "{architecture}");
            let published = counted.published_gflops;
            assert_eq!(
                published.is_none(),
                architecture.sees_whole_pictures(),
                "{architecture}"
            );
            let off = published.map_or(0.0, |published| (multiply_adds as f64 / 1e9 - published).abs());
            assert!(off <= 0.002, "{architecture}: {multiply_adds} and {published:?}");
        }
    }
}
