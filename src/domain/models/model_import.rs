//! Model imports: the accepted files, the owner's description, and its rules.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    labels,
    preprocessing::{Interpolation, Preprocessing, Resize},
};
use crate::{
    domain::{
        architecture::{Architecture, catalogue::Recipe},
        datasets::archive::ArchiveKind,
    },
    error::FieldError,
};

/// How many of the first bytes are enough to detect the format.
pub const ENOUGH: usize = crate::domain::datasets::archive::ENOUGH;

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportFormat {
    /// An archive of `model.safetensors` and `model.json`, as created by an export.
    Bundle,
    /// Weights with torchvision's names, in safetensors; whoever imports them describes them.
    Safetensors,
    /// The same in a file of `torch.save`.
    Torch,
}

impl ImportFormat {
    /// Detects the format from the first [`ENOUGH`] bytes, or from all of them if there are fewer.
    ///
    /// # Errors
    /// What to do with a file of another format.
    pub fn of(head: &[u8]) -> Result<Self, &'static str> {
        match head {
            // The length of the header, then the header, which is JSON.
            [_, _, _, _, _, _, _, _, b'{', ..] => Ok(Self::Safetensors),
            [0x80, 2..=5, ..] => Err(PICKLE),
            // An archive whose first file is the pickle; it begins with the length and the name of that.
            [b'P', b'K', 3, 4, ..] if memchr::memmem::find(head, b"/data.pkl").is_some() => Ok(Self::Torch),
            _ if ArchiveKind::of(head).is_some() => Ok(Self::Bundle),
            _ => Err(
                "this is neither a file of weights (safetensors, or of `torch.save`) nor a bundle (an archive of `model.safetensors` and \
                 `model.json`)",
            ),
        }
    }
}

/// What to do with an old file of `torch.save`.
pub const PICKLE: &str = "this is a file of `torch.save` in the format of PyTorch before 1.6, which is not read here; convert it where you \
    trust it: `python -c \"import torch; torch.save(torch.load('old.pth', map_location='cpu', weights_only=True), 'new.pth')\"`, \
    and send that";

/// The file that a model was imported from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportedFile {
    pub format: ImportFormat,
    /// Of the file as received, hexadecimal.
    pub sha256: String,
    pub bytes: u64,
    /// The owner's name for it, if any.
    pub file_name: Option<String>,
    /// What was changed to make the weights those of the network, such as a prefix that was taken off, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// The owner's description of the weights. Checked, except against the weights themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightsDescription {
    /// None: it is detected from the tensors.
    pub architecture: Option<Architecture>,
    /// In the order of the network's outputs.
    pub labels: Vec<String>,
    pub image_size: Option<u32>,
    pub resize: Resize,
    /// Length of the shorter side before the centre crop.
    pub resize_to: Option<u32>,
    #[serde(default)]
    pub interpolation: Option<Interpolation>,
    pub mean: Option<[f32; 3]>,
    pub std: Option<[f32; 3]>,
}

impl WeightsDescription {
    /// How images are preprocessed for such a network: by default as its known weights need it, otherwise as in torchvision for networks of
    /// this size.
    pub fn preprocessing(&self, architecture: Architecture) -> Preprocessing {
        let size = self.image_size.unwrap_or(architecture.native_size());
        let recipe = architecture.recipe();
        let resize_to = self
            .resize_to
            .unwrap_or(Recipe::resize_to(recipe.crop_share, size));
        Preprocessing {
            resize: self.resize,
            resize_to: resize_to.max(size),
            crop: size,
            mean: self.mean.unwrap_or(recipe.mean),
            std: self.std.unwrap_or(recipe.std),
            interpolation: self.interpolation.unwrap_or(recipe.interpolation),
            used_bits: None,
        }
    }
}

/// The fields of an import as received, unchecked.
#[derive(Clone, Debug, Default)]
pub struct DescriptionFields {
    pub labels: Option<String>,
    pub architecture: Option<String>,
    pub image_size: Option<String>,
    pub resize: Option<String>,
    pub resize_to: Option<String>,
    pub interpolation: Option<String>,
    pub mean: Option<String>,
    pub std: Option<String>,
}

impl DescriptionFields {
    /// Names of the fields that are present: a bundle contains all of them itself.
    pub fn given(&self) -> Vec<&'static str> {
        let fields = [
            ("labels", &self.labels),
            ("architecture", &self.architecture),
            ("image_size", &self.image_size),
            ("resize", &self.resize),
            ("resize_to", &self.resize_to),
            ("interpolation", &self.interpolation),
            ("mean", &self.mean),
            ("std", &self.std),
        ];
        let given = fields.iter().filter(|(_, value)| value.is_some());
        given.map(|(name, _)| *name).collect()
    }

    /// # Errors
    /// Everything that is wrong, at once.
    pub fn check(&self, max_classes: usize) -> Result<WeightsDescription, Vec<FieldError>> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, code: &str, message: String| {
            faults.push(FieldError::new(format!("/{field}"), code, message));
        };
        let labels = match self
            .labels
            .as_deref()
            .map(|text| labels::parse(text, max_classes))
        {
            None => Err((
                "missing",
                "send the names of the classes, in the order of the network's outputs, as a field of a form: \
                 `curl -F file=@model.pth -F labels=@classes.txt …`"
                    .to_owned(),
            )),
            Some(labels) => labels.map_err(|message| ("range", message)),
        };
        let labels = labels.unwrap_or_else(|(code, message)| {
            fault("labels", code, message);
            Vec::new()
        });
        let architecture = self.architecture.as_deref().and_then(|text| {
            let known = Architecture::names().into_iter().find(|(name, _)| *name == text);
            if known.is_none() {
                let names: Vec<_> = Architecture::ALL.iter().map(|known| known.as_str()).collect();
                let names = names.join(", ");
                fault("architecture", "range", format!("must be one of {names}"));
            }
            known.map(|(_, architecture)| architecture)
        });
        let mut number = |field: &str, text: &Option<String>, from: u32, to: u32| {
            let number = text
                .as_ref()?
                .trim()
                .parse()
                .ok()
                .filter(|number| (from..=to).contains(number));
            if number.is_none() {
                fault(
                    field,
                    "range",
                    format!("must be a whole number from {from} to {to}"),
                );
            }
            number
        };
        let image_size = number("image_size", &self.image_size, 32, 1024);
        let resize_to = number("resize_to", &self.resize_to, image_size.unwrap_or(32), 2048);
        if let (Some(architecture), Some(size)) = (architecture, image_size)
            && let Err(unfit) = architecture.check_size(size)
        {
            fault("image_size", "range", unfit.rule(architecture));
        }
        let resize = match self.resize.as_deref() {
            None | Some("shortest_crop") => Resize::ShortestCrop,
            Some("squash") => Resize::Squash,
            Some("letterbox") => Resize::Letterbox,
            Some(_) => {
                fault(
                    "resize",
                    "range",
                    "must be `shortest_crop`, `squash` or `letterbox`".to_owned(),
                );
                Resize::ShortestCrop
            }
        };
        let interpolation = self.interpolation.as_deref().and_then(|text| {
            let known = Interpolation::CHOICES.into_iter().find(|(name, _)| *name == text);
            if known.is_none() {
                fault(
                    "interpolation",
                    "range",
                    "must be `bilinear` or `bicubic`".to_owned(),
                );
            }
            known.map(|(_, interpolation)| interpolation)
        });
        let mut channels = |field: &str, text: &Option<String>, least: f32| {
            let text = text.as_ref()?;
            let numbers = parse_channels(text).filter(|numbers| {
                numbers
                    .iter()
                    .all(|number| number.is_finite() && *number >= least && *number <= 1000.0)
            });
            if numbers.is_none() {
                let rule = "must be three numbers, of red, green and blue on the scale 0–1, such as [0.485, 0.456, 0.406]";
                fault(field, "range", rule.to_owned());
            }
            numbers
        };
        let mean = channels("mean", &self.mean, -1000.0);
        let std = channels("std", &self.std, 1e-6);
        let described = WeightsDescription {
            architecture,
            labels,
            image_size,
            resize,
            resize_to,
            interpolation,
            mean,
            std,
        };
        if faults.is_empty() {
            Ok(described)
        } else {
            Err(faults)
        }
    }
}

/// `[0.5, 0.5, 0.5]` or `0.5, 0.5, 0.5`
fn parse_channels(text: &str) -> Option<[f32; 3]> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let numbers: Vec<f32> = text
        .split(',')
        .map(|number| number.trim().parse().ok())
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(labels: &str) -> DescriptionFields {
        DescriptionFields {
            labels: Some(labels.to_owned()),
            ..DescriptionFields::default()
        }
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let wrong = DescriptionFields {
            labels: None,
            architecture: Some("alexnet".into()),
            image_size: Some("7".into()),
            resize: Some("stretch".into()),
            resize_to: Some("-1".into()),
            interpolation: Some("nearest".into()),
            mean: Some("[0.5, 0.5]".into()),
            std: Some("0, 1, 1".into()),
        };
        let faults = wrong.check(10).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        let all = [
            "/labels",
            "/architecture",
            "/image_size",
            "/resize_to",
            "/resize",
            "/interpolation",
            "/mean",
            "/std",
        ];
        assert_eq!(pointers, all);
        assert_eq!(wrong.given().len(), 7);
    }

    #[test]
    fn the_recipe_is_torchvisions_unless_somebody_says_otherwise() {
        let described = fields("a\nb").check(10).unwrap();
        let recipe = described.preprocessing(Architecture::Resnet18);
        assert_eq!(recipe, Preprocessing::for_size(224));
        assert_eq!(
            described.preprocessing(Architecture::Resnet20),
            Preprocessing::whole(32)
        );
        let newer = DescriptionFields {
            resize_to: Some("232".into()),
            mean: Some("0.5,0.5,0.5".into()),
            ..fields("a\nb")
        };
        let recipe = newer.check(10).unwrap().preprocessing(Architecture::Resnet50);
        assert_eq!((recipe.resize_to, recipe.crop, recipe.mean), (232, 224, [0.5; 3]));
    }

    #[test]
    fn a_file_is_told_by_its_first_bytes() {
        assert_eq!(
            ImportFormat::of(b"\x10\0\0\0\0\0\0\0{\"a\""),
            Ok(ImportFormat::Safetensors)
        );
        assert_eq!(ImportFormat::of(b"PK\x03\x04rest"), Ok(ImportFormat::Bundle));
        let torch = b"PK\x03\x04\0\0\x08\x08\0\0resnet18/data.pkl";
        assert_eq!(ImportFormat::of(torch), Ok(ImportFormat::Torch));
        assert_eq!(
            ImportFormat::of(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
            Err(PICKLE)
        );
        assert!(ImportFormat::of(b"").is_err() && ImportFormat::of(b"<html>").is_err());
    }
}
