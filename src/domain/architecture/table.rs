//! The table of all networks, a row each.

use std::{fmt, sync::OnceLock};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    families::{
        convnext,
        densenet::densenet,
        efficientnet::{self, LARGE_NORM, NORM},
        efficientnet_lite::lite,
        googlenet::googlenet,
        inception_v3::inception_v3,
        mobilenet_v2::{mnasnet, mobilenet_v2},
        mobilenet_v3, regnet,
        resnet::{self, BOTTLENECK, Block},
        shufflenet_v2::shufflenet,
        squeezenet,
        swin::swin,
        vgg::vgg,
        vision_transformer::{self as vit, BASE, LARGE, SMALL, TINY},
        xception::xception,
    },
    network::NetworkDesign,
};

/// Generates the type from rows `Variant = "name": design`. The name is a token and not a `literal`, because utoipa does not look into
/// those.
macro_rules! architectures {
    ($(#[$doc:meta])* enum Architecture; $($(#[$attribute:meta])* $variant:ident = $name:tt: $design:expr;)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        pub enum Architecture {
            $($(#[$attribute])* #[serde(rename = $name)] $variant,)+
        }

        impl Architecture {
            pub const ALL: [Architecture; [$($name),+].len()] = [$(Architecture::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Architecture::$variant => $name,)+ }
            }

            /// Its layers, built when first asked for.
            pub fn design(self) -> &'static NetworkDesign {
                const COUNT: usize = Architecture::ALL.len();
                static DESIGNS: [OnceLock<NetworkDesign>; COUNT] = [const { OnceLock::new() }; COUNT];
                DESIGNS[self as usize].get_or_init(|| self.build())
            }

            fn build(self) -> NetworkDesign {
                match self { $(Architecture::$variant => $design,)+ }
            }
        }
    };
}

architectures! {
    /// A network, named as in torchvision where torchvision has it.
    ///
    /// ResNet-18 to 152: He et al. 2015, "Deep Residual Learning for Image Recognition", table 1. Wide ResNet-50-2: Zagoruyko and
    /// Komodakis 2016. ResNeXt-50 (32×4d): Xie et al. 2017. `resnet20` to `resnet56`: the ResNets for images of 32 pixels of He et al.
    /// 2015, section 4.2. EfficientNet-B0 to B7: Tan and Le 2019; EfficientNetV2: Tan and Le 2021; EfficientNet-Lite: Google 2020, in timm
    /// `tf_efficientnet_lite0` to `lite4`. VGG: Simonyan and Zisserman 2015. GoogLeNet: Szegedy et al. 2015. Inception-v3: Szegedy et al.
    /// 2016. Xception: Chollet 2017. DenseNet: Huang et al. 2017. MobileNetV2: Sandler et al. 2018; V3: Howard et al. 2019. MNASNet: Tan
    /// et al. 2019. ShuffleNetV2: Ma et al. 2018. SqueezeNet: Iandola et al. 2016. RegNetY: Radosavovic et al. 2020. ConvNeXt: Liu et al.
    /// 2022. Swin: Liu et al. 2021. Vision transformers: Dosovitskiy et al. 2021; DINOv2: Oquab et al. 2024; DINOv3: Siméoni et al. 2025;
    /// CLIP: Radford et al. 2021.
    enum Architecture;

    #[default]
    Resnet18 = "resnet18": resnet::imagenet(Block::Basic, [2, 2, 2, 2]);
    Resnet34 = "resnet34": resnet::imagenet(Block::Basic, [3, 4, 6, 3]);
    Resnet50 = "resnet50": resnet::imagenet(BOTTLENECK, [3, 4, 6, 3]);
    Resnet101 = "resnet101": resnet::imagenet(BOTTLENECK, [3, 4, 23, 3]);
    Resnet152 = "resnet152": resnet::imagenet(BOTTLENECK, [3, 8, 36, 3]);
    WideResnet50x2 = "wide_resnet50_2": resnet::imagenet(resnet::bottleneck(1, 128), [3, 4, 6, 3]);
    Resnext50 = "resnext50_32x4d": resnet::imagenet(resnet::bottleneck(32, 4), [3, 4, 6, 3]);
    Resnet20 = "resnet20": resnet::cifar(3);
    Resnet32 = "resnet32": resnet::cifar(5);
    Resnet44 = "resnet44": resnet::cifar(7);
    Resnet56 = "resnet56": resnet::cifar(9);
    EfficientnetB0 = "efficientnet_b0": efficientnet::b(1.0, 1.0, 224, 0.2, NORM);
    EfficientnetB1 = "efficientnet_b1": efficientnet::b(1.0, 1.1, 240, 0.2, NORM);
    EfficientnetB2 = "efficientnet_b2": efficientnet::b(1.1, 1.2, 288, 0.3, NORM);
    EfficientnetB3 = "efficientnet_b3": efficientnet::b(1.2, 1.4, 300, 0.3, NORM);
    EfficientnetB4 = "efficientnet_b4": efficientnet::b(1.4, 1.8, 380, 0.4, NORM);
    EfficientnetB5 = "efficientnet_b5": efficientnet::b(1.6, 2.2, 456, 0.4, LARGE_NORM);
    EfficientnetB6 = "efficientnet_b6": efficientnet::b(1.8, 2.6, 528, 0.5, LARGE_NORM);
    EfficientnetB7 = "efficientnet_b7": efficientnet::b(2.0, 3.1, 600, 0.5, LARGE_NORM);
    EfficientnetV2S = "efficientnet_v2_s": efficientnet::v2_s();
    EfficientnetV2M = "efficientnet_v2_m": efficientnet::v2_m();
    EfficientnetV2L = "efficientnet_v2_l": efficientnet::v2_l();
    EfficientnetLite0 = "efficientnet_lite0": lite(1.0, 1.0, 224, 0.2);
    EfficientnetLite1 = "efficientnet_lite1": lite(1.0, 1.1, 240, 0.2);
    EfficientnetLite2 = "efficientnet_lite2": lite(1.1, 1.2, 260, 0.3);
    EfficientnetLite3 = "efficientnet_lite3": lite(1.2, 1.4, 300, 0.3);
    EfficientnetLite4 = "efficientnet_lite4": lite(1.4, 1.8, 380, 0.3);
    Vgg11 = "vgg11": vgg([1, 1, 2, 2, 2], false);
    Vgg13 = "vgg13": vgg([2, 2, 2, 2, 2], false);
    Vgg16 = "vgg16": vgg([2, 2, 3, 3, 3], false);
    Vgg19 = "vgg19": vgg([2, 2, 4, 4, 4], false);
    Vgg11Bn = "vgg11_bn": vgg([1, 1, 2, 2, 2], true);
    Vgg13Bn = "vgg13_bn": vgg([2, 2, 2, 2, 2], true);
    Vgg16Bn = "vgg16_bn": vgg([2, 2, 3, 3, 3], true);
    Vgg19Bn = "vgg19_bn": vgg([2, 2, 4, 4, 4], true);
    Googlenet = "googlenet": googlenet();
    InceptionV3 = "inception_v3": inception_v3();
    Xception = "xception": xception();
    Densenet121 = "densenet121": densenet([6, 12, 24, 16]);
    Densenet169 = "densenet169": densenet([6, 12, 32, 32]);
    Densenet201 = "densenet201": densenet([6, 12, 48, 32]);
    MobilenetV2 = "mobilenet_v2": mobilenet_v2();
    MobilenetV3Small = "mobilenet_v3_small": mobilenet_v3::small();
    MobilenetV3Large = "mobilenet_v3_large": mobilenet_v3::large();
    Mnasnet0x5 = "mnasnet0_5": mnasnet(0.5);
    Mnasnet0x75 = "mnasnet0_75": mnasnet(0.75);
    Mnasnet1x0 = "mnasnet1_0": mnasnet(1.0);
    Mnasnet1x3 = "mnasnet1_3": mnasnet(1.3);
    Shufflenet0x5 = "shufflenet_v2_x0_5": shufflenet([48, 96, 192, 1024]);
    Shufflenet1x0 = "shufflenet_v2_x1_0": shufflenet([116, 232, 464, 1024]);
    Shufflenet1x5 = "shufflenet_v2_x1_5": shufflenet([176, 352, 704, 1024]);
    Shufflenet2x0 = "shufflenet_v2_x2_0": shufflenet([244, 488, 976, 2048]);
    Squeezenet1x0 = "squeezenet1_0": squeezenet::squeezenet1_0();
    Squeezenet1x1 = "squeezenet1_1": squeezenet::squeezenet1_1();
    RegnetY400Mf = "regnet_y_400mf": regnet::y([1, 3, 6, 6], [48, 104, 208, 440], 8);
    RegnetY1600Mf = "regnet_y_1_6gf": regnet::y([2, 6, 17, 2], [48, 120, 336, 888], 24);
    RegnetY8Gf = "regnet_y_8gf": regnet::y([2, 4, 10, 1], [224, 448, 896, 2016], 56);
    ConvnextAtto = "convnext_atto": convnext::timm([2, 2, 6, 2], 40);
    ConvnextFemto = "convnext_femto": convnext::timm([2, 2, 6, 2], 48);
    ConvnextPico = "convnext_pico": convnext::timm([2, 2, 6, 2], 64);
    ConvnextNano = "convnext_nano": convnext::timm([2, 2, 8, 2], 80);
    ConvnextTiny = "convnext_tiny": convnext::torchvision([3, 3, 9, 3], 96, 0.1);
    ConvnextSmall = "convnext_small": convnext::torchvision([3, 3, 27, 3], 96, 0.4);
    ConvnextBase = "convnext_base": convnext::torchvision([3, 3, 27, 3], 128, 0.5);
    SwinT = "swin_t": swin(96, 3, [2, 2, 6, 2], 0.2);
    SwinS = "swin_s": swin(96, 3, [2, 2, 18, 2], 0.3);
    SwinB = "swin_b": swin(128, 4, [2, 2, 18, 2], 0.5);
    VitTinyPatch16 = "vit_tiny_patch16_224": vit::timm(TINY, 16);
    VitSmallPatch16 = "vit_small_patch16_224": vit::timm(SMALL, 16);
    VitSmallPatch32 = "vit_small_patch32_224": vit::timm(SMALL, 32);
    VitB16 = "vit_b_16": vit::torchvision(BASE, 16);
    VitB32 = "vit_b_32": vit::torchvision(BASE, 32);
    VitL16 = "vit_l_16": vit::torchvision(LARGE, 16);
    VitL32 = "vit_l_32": vit::torchvision(LARGE, 32);
    Dinov2Small = "vit_small_patch14_dinov2": vit::dinov2(SMALL, 0);
    Dinov2Base = "vit_base_patch14_dinov2": vit::dinov2(BASE, 0);
    Dinov2Large = "vit_large_patch14_dinov2": vit::dinov2(LARGE, 0);
    Dinov2SmallReg4 = "vit_small_patch14_reg4_dinov2": vit::dinov2(SMALL, 4);
    Dinov2BaseReg4 = "vit_base_patch14_reg4_dinov2": vit::dinov2(BASE, 4);
    Dinov2LargeReg4 = "vit_large_patch14_reg4_dinov2": vit::dinov2(LARGE, 4);
    Dinov3Small = "vit_small_patch16_dinov3": vit::dinov3(SMALL, false);
    Dinov3SmallPlus = "vit_small_plus_patch16_dinov3": vit::dinov3(SMALL, true);
    Dinov3Base = "vit_base_patch16_dinov3": vit::dinov3(BASE, false);
    ClipB32 = "vit_base_patch32_clip_224": vit::clip(32, false);
    ClipB16 = "vit_base_patch16_clip_224": vit::clip(16, false);
    ClipB32Quick = "vit_base_patch32_clip_quickgelu_224": vit::clip(32, true);
    ClipB16Quick = "vit_base_patch16_clip_quickgelu_224": vit::clip(16, true);
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
        for architecture in Architecture::ALL {
            let json = serde_json::to_value(architecture).unwrap();
            assert_eq!(json, architecture.as_str());
            assert_eq!(
                serde_json::from_value::<Architecture>(json).unwrap(),
                architecture
            );
        }
    }
}
