//! Which network, and what it starts from.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::Fields;

/// A network (He et al. 2015, "Deep Residual Learning for Image Recognition"), with torchvision's parameter names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    #[default]
    Resnet18,
    Resnet34,
    Resnet50,
    Resnet101,
    Resnet152,
}

impl Architecture {
    pub const ALL: [Architecture; 5] = [
        Architecture::Resnet18,
        Architecture::Resnet34,
        Architecture::Resnet50,
        Architecture::Resnet101,
        Architecture::Resnet152,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Architecture::Resnet18 => "resnet18",
            Architecture::Resnet34 => "resnet34",
            Architecture::Resnet50 => "resnet50",
            Architecture::Resnet101 => "resnet101",
            Architecture::Resnet152 => "resnet152",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Where the base weights come from, as the spec says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Weights {
    /// Random initialisation.
    None,
    /// Trained on ImageNet, from the configured hub or from `--weights-dir`.
    Imagenet,
    /// A file of `--weights-dir`: its name, ending in `.safetensors`.
    File(String),
    /// A finished model of this server: its id, name or `name@version`.
    Model(String),
}

crate::text_schema!(Weights, "^[A-Za-z0-9][A-Za-z0-9._@-]*$", "imagenet");

impl From<String> for Weights {
    fn from(text: String) -> Self {
        match text.as_str() {
            "none" => Weights::None,
            "imagenet" => Weights::Imagenet,
            _ if text.ends_with(".safetensors") => Weights::File(text),
            _ => Weights::Model(text),
        }
    }
}

impl From<Weights> for String {
    fn from(weights: Weights) -> String {
        match weights {
            Weights::None => "none".to_owned(),
            Weights::Imagenet => "imagenet".to_owned(),
            Weights::File(text) | Weights::Model(text) => text,
        }
    }
}

/// The network and what it starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backbone {
    pub architecture: Architecture,
    /// `none`, `imagenet`, a model of this server, or a file of `--weights-dir`.
    pub weights: Weights,
}

pub(super) fn parse(mut fields: Fields) -> Backbone {
    let architectures = Architecture::ALL.map(|architecture| (architecture.as_str(), architecture));
    let architecture = fields.choice("architecture", Architecture::default(), &architectures);
    let weights = match fields.text("weights") {
        None => Weights::Imagenet,
        Some(text) => parse_weights(text).unwrap_or_else(|rule| {
            fields.fault("weights", "range", rule);
            Weights::Imagenet
        }),
    };
    fields.finish(&[]);
    Backbone {
        architecture,
        weights,
    }
}

fn parse_weights(text: &str) -> Result<Weights, &'static str> {
    let weights = Weights::from(text.to_owned());
    let plain = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
        (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
    };
    match &weights {
        Weights::File(name) if !plain(name) => {
            Err("must be the plain name of a file in the server's weights folder")
        }
        Weights::Model(name) if !plain(name) => Err(
            "must be `none`, `imagenet`, a model's id or name, or the name of a `.safetensors` file in the server's weights folder",
        ),
        _ => Ok(weights),
    }
}
