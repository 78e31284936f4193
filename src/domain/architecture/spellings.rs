//! Other names of networks: those of timm for networks that are called as in torchvision here, and the other way round.

use super::Architecture;

/// The other library's name, and ours.
const SPELLINGS: [(&str, Architecture); 27] = [
    ("tf_efficientnet_lite0", Architecture::EfficientnetLite0),
    ("tf_efficientnet_lite1", Architecture::EfficientnetLite1),
    ("tf_efficientnet_lite2", Architecture::EfficientnetLite2),
    ("tf_efficientnet_lite3", Architecture::EfficientnetLite3),
    ("tf_efficientnet_lite4", Architecture::EfficientnetLite4),
    ("legacy_xception", Architecture::Xception),
    ("mobilenetv2_100", Architecture::MobilenetV2),
    ("mobilenetv3_small_100", Architecture::MobilenetV3Small),
    ("mobilenetv3_large_100", Architecture::MobilenetV3Large),
    ("efficientnetv2_s", Architecture::EfficientnetV2S),
    ("efficientnetv2_m", Architecture::EfficientnetV2M),
    ("efficientnetv2_l", Architecture::EfficientnetV2L),
    ("mnasnet_050", Architecture::Mnasnet0x5),
    ("mnasnet_075", Architecture::Mnasnet0x75),
    ("mnasnet_100", Architecture::Mnasnet1x0),
    ("regnety_004", Architecture::RegnetY400Mf),
    ("regnety_016", Architecture::RegnetY1600Mf),
    ("regnety_080_tv", Architecture::RegnetY8Gf),
    ("swin_tiny_patch4_window7_224", Architecture::SwinT),
    ("swin_small_patch4_window7_224", Architecture::SwinS),
    ("swin_base_patch4_window7_224", Architecture::SwinB),
    ("vit_base_patch16_224", Architecture::VitB16),
    ("vit_base_patch32_224", Architecture::VitB32),
    ("vit_large_patch16_224", Architecture::VitL16),
    ("vit_large_patch32_224", Architecture::VitL32),
    ("deit_tiny_patch16_224", Architecture::VitTinyPatch16),
    ("deit_small_patch16_224", Architecture::VitSmallPatch16),
];

impl Architecture {
    /// Every name that is understood, with its network: our own first.
    pub fn names() -> Vec<(&'static str, Architecture)> {
        let own = Architecture::ALL.into_iter().map(|it| (it.as_str(), it));
        own.chain(SPELLINGS).collect()
    }

    /// Its names in other libraries.
    pub(super) fn spellings(self) -> impl Iterator<Item = &'static str> {
        let own = SPELLINGS
            .into_iter()
            .filter(move |(_, architecture)| *architecture == self);
        own.map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_means_two_networks() {
        let mut names: Vec<_> = Architecture::names().into_iter().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
