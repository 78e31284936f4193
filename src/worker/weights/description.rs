//! The `config.json` of a repository in timm's format: which network it is, the preprocessing, the names of the classes.

use serde_json::Value;

use crate::domain::{
    architecture::{Architecture, catalogue::Recipe},
    models::preprocessing::{Interpolation, Preprocessing, Resize},
};

/// What a checkpoint says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// timm's name of the network.
    pub architecture: String,
    pub recipe: Recipe,
    pub resize: Resize,
    /// Names of the outputs of the head, if they are given.
    pub classes: Option<Vec<String>>,
}

impl Description {
    /// # Errors
    /// What is missing or wrong, as the end of a sentence.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let config: Value =
            serde_json::from_slice(bytes).map_err(|fault| format!("it is not JSON ({fault})"))?;
        let architecture = config["architecture"].as_str();
        let architecture = architecture.ok_or("it has no `architecture`, so it is not in timm's format")?;
        // Files of older versions have everything at the top.
        let settings = match &config["pretrained_cfg"] {
            Value::Object(_) => &config["pretrained_cfg"],
            _ => &config,
        };
        let native_size = match settings["input_size"].as_array().and_then(|sides| sides.last()) {
            None => 224,
            Some(side) => side
                .as_u64()
                .filter(|side| (8..=4096).contains(side))
                .ok_or("its `input_size` is impossible")? as u32,
        };
        Ok(Self {
            architecture: architecture.to_owned(),
            recipe: Recipe {
                mean: channels(&settings["mean"], Preprocessing::IMAGENET_MEAN, "mean")?,
                std: channels(&settings["std"], Preprocessing::IMAGENET_STD, "std")?,
                interpolation: interpolation(&settings["interpolation"])?,
                crop_share: crop_share(&settings["crop_pct"])?,
                native_size,
            },
            resize: match settings["crop_mode"].as_str() {
                None | Some("center") => Resize::ShortestCrop,
                Some("squash") => Resize::Squash,
                Some("border") => Resize::Letterbox,
                Some(other) => return Err(format!("its `crop_mode` is `{other}`, which is not known here")),
            },
            classes: classes(&config).or_else(|| classes(settings)),
        })
    }

    /// # Errors
    /// Which network it is of, and what to do.
    pub fn check_architecture(&self, wanted: Architecture) -> Result<(), String> {
        if wanted.is_called(&self.architecture) {
            return Ok(());
        }
        let known = Architecture::ALL
            .into_iter()
            .find(|known| known.is_called(&self.architecture));
        Err(match known {
            Some(known) => {
                format!(
                    "they are weights of {known}; set `backbone.architecture` to `{known}`, or use other weights"
                )
            }
            None => format!(
                "they are weights of `{}`, which is not one of the architectures of this server (`GET /v1/architectures`)",
                self.architecture
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(80)
                    .collect::<String>()
            ),
        })
    }
}

fn channels(value: &Value, default: [f32; 3], name: &str) -> Result<[f32; 3], String> {
    if value.is_null() {
        return Ok(default);
    }
    let numbers: Option<Vec<f64>> = value
        .as_array()
        .and_then(|items| items.iter().map(Value::as_f64).collect());
    let numbers = numbers.and_then(|numbers| <[f64; 3]>::try_from(numbers).ok());
    let least = if name == "std" { 1e-6 } else { -1000.0 };
    let fits = |numbers: &[f64; 3]| numbers.iter().all(|number| (least..=1000.0).contains(number));
    let numbers = numbers
        .filter(fits)
        .ok_or_else(|| format!("its `{name}` is not one of three channels"))?;
    Ok(numbers.map(|number| number as f32))
}

/// timm's default is bicubic.
fn interpolation(value: &Value) -> Result<Interpolation, String> {
    match value.as_str() {
        None => Ok(Interpolation::Bicubic),
        Some(name) => {
            let known = Interpolation::CHOICES
                .into_iter()
                .find(|(known, _)| *known == name);
            known.map(|(_, interpolation)| interpolation).ok_or_else(|| {
                format!("its `interpolation` is `{name}`, and only bilinear and bicubic are known here")
            })
        }
    }
}

fn crop_share(value: &Value) -> Result<f64, String> {
    match value.as_f64() {
        None => Ok(0.875),
        Some(share) if (0.5..=1.0).contains(&share) => Ok(share),
        Some(share) => Err(format!("its `crop_pct` is {share}, and must be 0.5 to 1")),
    }
}

fn classes(config: &Value) -> Option<Vec<String>> {
    let names = config["label_names"].as_array()?;
    names
        .iter()
        .map(|name| name.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: Value) -> Result<Description, String> {
        Description::read(&serde_json::to_vec(&config).unwrap())
    }

    #[test]
    fn both_forms_of_the_file_are_read() {
        let cfg = json!({"input_size": [3, 240, 240], "interpolation": "bicubic", "crop_pct": 0.882, "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5], "crop_mode": "center"});
        let mut old = cfg.clone();
        old["architecture"] = json!("resnet18");
        let new = json!({"architecture": "resnet18", "label_names": ["ant", "bee"], "pretrained_cfg": cfg});
        let (old, new) = (read(old).unwrap(), read(new).unwrap());
        assert_eq!(old.recipe, new.recipe);
        assert_eq!((new.recipe.native_size, new.recipe.mean), (240, [0.5; 3]));
        assert_eq!(new.recipe.interpolation, Interpolation::Bicubic);
        assert_eq!(new.classes, Some(vec!["ant".to_owned(), "bee".to_owned()]));
        assert_eq!(old.classes, None);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (config, told) in [
            (json!({"model_type": "vit"}), "no `architecture`"),
            (
                json!({"architecture": "resnet18", "interpolation": "lanczos"}),
                "`lanczos`",
            ),
            (json!({"architecture": "resnet18", "crop_pct": 1.5}), "`crop_pct`"),
            (json!({"architecture": "resnet18", "std": [0, 1, 1]}), "`std`"),
            (
                json!({"architecture": "resnet18", "input_size": [3, 0, 0]}),
                "`input_size`",
            ),
        ] {
            assert!(read(config).unwrap_err().contains(told), "{told}");
        }
        assert!(Description::read(b"<html>").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn another_network_is_named() {
        let of = |name: &str| {
            read(json!({"architecture": name}))
                .unwrap()
                .check_architecture(Architecture::Resnet18)
        };
        assert!(of("resnet18").is_ok());
        assert!(
            of("resnet50")
                .unwrap_err()
                .contains("set `backbone.architecture` to `resnet50`")
        );
        assert!(
            of("maxvit_tiny")
                .unwrap_err()
                .contains("`maxvit_tiny`, which is not one")
        );
    }
}
