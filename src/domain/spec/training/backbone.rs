//! The network and its base weights.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    architecture::{Architecture, WeightsOrigin},
    spec::fields::Fields,
};

/// The base weights, as named in the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Weights {
    /// Random initialisation.
    None,
    /// Trained on ImageNet, from the configured hub or from `--weights-dir`.
    Imagenet,
    /// A file in `--weights-dir`: its name, ending in one of [`Weights::FILE_ENDINGS`].
    File(String),
    /// A trained model of this server: its id, name or `name@version`.
    Model(String),
}

crate::text_schema!(Weights, "^[A-Za-z0-9][A-Za-z0-9._@-]*$", "imagenet");

impl Weights {
    /// Extensions of weights files: safetensors, and the usual ones of PyTorch's `torch.save`.
    pub const FILE_ENDINGS: [&str; 4] = [".safetensors", ".pth", ".pt", ".pth.tar"];
}

impl From<String> for Weights {
    fn from(text: String) -> Self {
        match text.as_str() {
            "none" => Weights::None,
            "imagenet" => Weights::Imagenet,
            _ if Weights::FILE_ENDINGS.iter().any(|ending| text.ends_with(ending)) => Weights::File(text),
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

/// The network and its base weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backbone {
    pub architecture: Architecture,
    /// `none`, `imagenet`, a model of this server, or a file in `--weights-dir`. By default `imagenet`, and `none` for the networks that
    /// are designed for images of 32 pixels.
    pub weights: Weights,
}

pub(in crate::domain::spec) fn parse(mut fields: Fields) -> Backbone {
    let architectures = Architecture::ALL.map(|architecture| (architecture.as_str(), architecture));
    let architecture = fields.choice("architecture", Architecture::default(), &architectures);
    let default = match architecture.weights() {
        [WeightsOrigin::Imagenet, ..] => Weights::Imagenet,
        _ => Weights::None,
    };
    let weights = match fields.text("weights").map(parse_weights) {
        None => default,
        Some(Ok(Weights::Imagenet)) if !architecture.weights().contains(&WeightsOrigin::Imagenet) => {
            let message = format!(
                "there are no ImageNet weights for {architecture}; use `none`, a model of this server, or a file of the server's weights \
                 folder"
            );
            fields.fault("weights", "conflict", message);
            default
        }
        Some(Ok(weights)) => weights,
        Some(Err(rule)) => {
            fields.fault("weights", "range", rule);
            default
        }
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
            Err("must be the name of a file in the server's weights folder, without a path")
        }
        Weights::Model(name) if !plain(name) => Err(
            "must be `none`, `imagenet`, a model's id or name, or the name of a file in the server's weights folder \
             (`.safetensors`, `.pth`, `.pt` or `.pth.tar`)",
        ),
        _ => Ok(weights),
    }
}
