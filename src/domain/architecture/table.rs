//! The table of all networks, a row each.

use std::{fmt, sync::OnceLock};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    families::{
        efficientnet::{self, LARGE_NORM, NORM},
        efficientnet_lite::lite,
        resnet::{self, BOTTLENECK, Block},
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
                match self {
                    $(Architecture::$variant => {
                        static DESIGN: OnceLock<NetworkDesign> = OnceLock::new();
                        DESIGN.get_or_init(|| $design)
                    })+
                }
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
    /// `tf_efficientnet_lite0` to `lite4`.
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
    EfficientnetLite3 = "efficientnet_lite3": lite(1.2, 1.4, 280, 0.3);
    EfficientnetLite4 = "efficientnet_lite4": lite(1.4, 1.8, 300, 0.3);
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
