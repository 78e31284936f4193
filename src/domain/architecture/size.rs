//! Which sizes of images a network takes.

use super::{
    Architecture,
    auxiliary::AuxiliaryHead,
    layer::{Conv2d, Layer, Op, Pool},
    network::NetworkDesign,
    shape::Shape,
};

/// Why a network does not take square images of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeFault {
    /// A kernel would be larger than what is left of the image; the smallest size that it takes.
    TooSmall { least: u32 },
    /// Its patches would not cover the image; their size.
    NotMultiple { of: u32 },
}

impl SizeFault {
    /// What the size must be.
    pub fn rule(self, architecture: Architecture) -> String {
        match self {
            SizeFault::TooSmall { least } => format!("must be at least {least} for {architecture}"),
            SizeFault::NotMultiple { of } => format!(
                "must be a multiple of {of} for {architecture}, which sees the image in patches of {of} pixels"
            ),
        }
    }
}

impl Architecture {
    /// # Errors
    /// [`SizeFault`] where it does not take images of `side × side` pixels.
    pub fn check_size(self, side: u32) -> Result<(), SizeFault> {
        let design = self.design();
        let patch = design.patch();
        if let Some(of) = patch.filter(|patch| !side.is_multiple_of(*patch)) {
            return Err(SizeFault::NotMultiple { of });
        }
        self.check_fit(side, |side| design.fits(side))
    }

    /// The same for its auxiliary heads. Most of them take fewer sizes than the network.
    ///
    /// # Errors
    /// [`SizeFault::TooSmall`]
    pub fn check_auxiliary_size(self, side: u32) -> Result<(), SizeFault> {
        let heads = self.auxiliary_heads(2);
        self.check_fit(side, |side| {
            let mut heads = heads.iter();
            heads.all(|head| self.design().fits_before(head, side))
        })
    }

    fn check_fit(self, side: u32, fits: impl Fn(u32) -> bool) -> Result<(), SizeFault> {
        if fits(side) {
            return Ok(());
        }
        let native = self.native_size();
        let least = (side + 1..=native).find(|size| fits(*size)).unwrap_or(native);
        Err(SizeFault::TooSmall { least })
    }
}

impl NetworkDesign {
    /// Side of the patches that become the tokens of a transformer.
    fn patch(&self) -> Option<u32> {
        let (mut stride, mut has_patches) = (None, false);
        self.follow(self.native_size, |layer, _, _| match layer.op {
            Op::Conv2d(conv) => stride = stride.or(Some(conv.stride as u32)),
            Op::PositionEmbedding(_) | Op::Attention(_) => has_patches = true,
            _ => {}
        });
        stride.filter(|_| has_patches)
    }

    /// Whether every kernel fits into its input.
    fn fits(&self, side: u32) -> bool {
        let mut fits = true;
        self.follow(side, |layer, _, input| fits &= kernel_fits(layer, input));
        fits
    }

    /// The same in an auxiliary head and everything before it.
    fn fits_before(&self, head: &AuxiliaryHead, side: u32) -> bool {
        let (mut fits, mut shape) = (true, Shape::image(side.into()));
        for layer in self.layers_before(head.begins).chain([&head.layer]) {
            if !fits {
                return false;
            }
            shape = layer.follow("", shape, &mut |layer, _, input| {
                fits &= kernel_fits(layer, input)
            });
        }
        fits
    }
}

fn kernel_fits(layer: &Layer, input: Shape) -> bool {
    match layer.op {
        Op::Conv2d(conv) => conv_fits(&conv, input),
        Op::MaxPool2d(pool) | Op::AvgPool2d(pool) => pool_fits(pool, input),
        _ => true,
    }
}

fn conv_fits(conv: &Conv2d, input: Shape) -> bool {
    let Shape::Map { height, width, .. } = input else {
        return true;
    };
    let size = [height, width];
    let padding = conv.padding_of(size);
    (0..2).all(|axis| size[axis] + padding[axis].iter().sum::<u64>() >= conv.reach()[axis])
}

fn pool_fits(pool: Pool, input: Shape) -> bool {
    let Shape::Map { height, width, .. } = input else {
        return true;
    };
    height.min(width) + 2 * pool.padding >= pool.side
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_takes_the_size_that_it_is_designed_for() {
        for architecture in Architecture::ALL {
            let native = architecture.native_size();
            assert_eq!(architecture.check_size(native), Ok(()), "{architecture}");
        }
    }

    #[test]
    fn what_is_too_small_or_not_covered_by_patches_is_a_fault() {
        let inception = Architecture::InceptionV3;
        // As torchvision says.
        assert_eq!(inception.check_size(74), Err(SizeFault::TooSmall { least: 75 }));
        assert_eq!(inception.check_size(75), Ok(()));
        // Its auxiliary head has a kernel of 5 × 5 on maps that are 3 × 3 for an image of 224.
        assert_eq!(
            inception.check_auxiliary_size(224),
            Err(SizeFault::TooSmall { least: 299 })
        );
        assert_eq!(inception.check_auxiliary_size(299), Ok(()));
        assert_eq!(Architecture::Googlenet.check_auxiliary_size(32), Ok(()));
        assert_eq!(Architecture::Resnet50.check_size(32), Ok(()));
        assert_eq!(Architecture::Vgg16.check_size(32), Ok(()));
        let dinov2 = Architecture::Dinov2Small;
        assert_eq!(dinov2.check_size(224), Ok(()));
        assert_eq!(dinov2.check_size(225), Err(SizeFault::NotMultiple { of: 14 }));
        assert_eq!(
            Architecture::VitB32.check_size(112),
            Err(SizeFault::NotMultiple { of: 32 })
        );
    }
}
