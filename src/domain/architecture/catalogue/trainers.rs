//! Who trained sets of weights, and what such sets have in common: the parts of the rows in `sets.rs`.
//!
//! Preprocessing and licences are those of timm's model cards (`timm.models.*.default_cfgs`).

use super::{Recipe, WeightSet};
use crate::domain::models::preprocessing::Interpolation;

/// torchvision's ImageNet weights in timm's conversion, which keeps the names of the parameters.
pub const fn torchvision(repository: &'static str) -> WeightSet {
    WeightSet {
        name: "imagenet",
        repository,
        author: "torchvision",
        licence: "BSD-3-Clause",
        classes: 1000,
        recipe: Recipe::TORCHVISION,
        package: None,
    }
}

/// Google's ImageNet weights of the EfficientNet-Lites, converted from TensorFlow.
pub const fn lite(
    repository: &'static str,
    native_size: u32,
    crop_share: f64,
    interpolation: Interpolation,
) -> WeightSet {
    WeightSet {
        name: "imagenet",
        repository,
        author: "Google",
        licence: "Apache-2.0",
        classes: 1000,
        recipe: Recipe {
            mean: [0.5; 3],
            std: [0.5; 3],
            interpolation,
            crop_share,
            native_size,
        },
        package: None,
    }
}

/// timm's own, for images of so many pixels.
pub const fn timm(repository: &'static str, native_size: u32, crop_share: f64) -> WeightSet {
    WeightSet {
        name: "imagenet",
        repository,
        author: "timm",
        licence: "Apache-2.0",
        classes: 1000,
        recipe: bicubic(
            Recipe::TORCHVISION.mean,
            Recipe::TORCHVISION.std,
            crop_share,
            native_size,
        ),
        package: None,
    }
}

/// The same by another name, with as many classes and another share of the image.
pub const fn convnext(
    name: &'static str,
    repository: &'static str,
    classes: u64,
    crop_share: f64,
) -> WeightSet {
    WeightSet {
        name,
        classes,
        ..timm(repository, 224, crop_share)
    }
}

/// Meta's ConvNeXts, trained on ImageNet-22k (Liu et al. 2022).
pub const fn facebook(name: &'static str, repository: &'static str, classes: u64) -> WeightSet {
    WeightSet {
        author: "Meta",
        ..convnext(name, repository, classes, 0.875)
    }
}

/// torchvision's newer ones, with its own licence and timm's preprocessing (`tv2`).
pub const fn torchvision_2(repository: &'static str) -> WeightSet {
    WeightSet {
        author: "torchvision",
        licence: "BSD-3-Clause",
        ..timm(repository, 224, 0.965)
    }
}

/// torchvision's, for which timm states its own preprocessing and licence.
pub const fn torchvision_in_timm(repository: &'static str) -> WeightSet {
    WeightSet {
        author: "torchvision",
        ..timm(repository, 224, 0.875)
    }
}

/// For pixels from -1 to 1.
pub const fn symmetric(set: WeightSet) -> WeightSet {
    WeightSet {
        recipe: Recipe {
            mean: [0.5; 3],
            std: [0.5; 3],
            ..set.recipe
        },
        ..set
    }
}

/// Alibaba's, trained on ImageNet-21k (Ridnik et al. 2021); for pixels from 0 to 1.
pub const fn miil(name: &'static str, repository: &'static str, classes: u64) -> WeightSet {
    WeightSet {
        name,
        author: "Alibaba",
        classes,
        recipe: Recipe {
            mean: [0.0; 3],
            std: [1.0; 3],
            ..Recipe::TORCHVISION
        },
        ..timm(repository, 224, 0.875)
    }
}

/// The first vision transformers of Google's, without a head (Dosovitskiy et al. 2021).
pub const fn headless(repository: &'static str) -> WeightSet {
    augreg("imagenet21k", repository, 0)
}

/// Microsoft's Swin transformers (Liu et al. 2021).
pub const fn microsoft(name: &'static str, repository: &'static str, classes: u64) -> WeightSet {
    WeightSet {
        author: "Microsoft",
        licence: "MIT",
        ..convnext(name, repository, classes, 0.9)
    }
}

/// Google's vision transformers, trained on ImageNet-21k with augmentation and regularisation (Steiner et al. 2021).
pub const fn augreg(name: &'static str, repository: &'static str, classes: u64) -> WeightSet {
    WeightSet {
        name,
        repository,
        author: "Google",
        licence: "Apache-2.0",
        classes,
        recipe: bicubic([0.5; 3], [0.5; 3], 0.9, 224),
        package: None,
    }
}

/// Meta's vision transformers trained on ImageNet alone (Touvron et al. 2020).
pub const fn deit(repository: &'static str) -> WeightSet {
    WeightSet {
        name: "deit",
        author: "Meta",
        recipe: bicubic(Recipe::TORCHVISION.mean, Recipe::TORCHVISION.std, 0.9, 224),
        ..augreg("deit", repository, 1000)
    }
}

/// Meta's self-supervised vision transformers, without a head (Oquab et al. 2023).
pub const fn dinov2(repository: &'static str) -> WeightSet {
    WeightSet {
        author: "Meta",
        recipe: bicubic(Recipe::TORCHVISION.mean, Recipe::TORCHVISION.std, 1.0, 518),
        ..augreg("dinov2", repository, 0)
    }
}

/// Meta's newer ones (Siméoni et al. 2025); their licence asks for acceptance.
pub const fn dinov3(repository: &'static str) -> WeightSet {
    WeightSet {
        author: "Meta",
        licence: "LicenseRef-DINOv3",
        recipe: bicubic(Recipe::TORCHVISION.mean, Recipe::TORCHVISION.std, 1.0, 256),
        ..augreg("dinov3", repository, 0)
    }
}

const fn bicubic(mean: [f32; 3], std: [f32; 3], crop_share: f64, native_size: u32) -> Recipe {
    Recipe {
        mean,
        std,
        interpolation: Interpolation::Bicubic,
        crop_share,
        native_size,
    }
}
