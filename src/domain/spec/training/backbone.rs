//! The network and its base weights.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    architecture::{
        Architecture,
        catalogue::{Recipe, SetName},
    },
    spec::fields::Fields,
};

/// The base weights, as named in the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Weights {
    /// Random initialisation.
    None,
    /// A known set of the architecture, such as `imagenet`: a file in `--weights-dir`, from the configured hub or from the Python registry.
    Set(SetName),
    /// Any repository of the hub in timm's format, `owner/repository` or `owner/repository@revision`; written with [`Weights::HUB`] before
    /// it.
    Hub(String),
    /// A file in `--weights-dir`: its name, ending in one of [`Weights::FILE_ENDINGS`].
    File(String),
    /// A trained model of this server: its id, name or `name@version`.
    Model(String),
}

crate::text_schema!(
    Weights,
    "^(hub:[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._@-]*$",
    "imagenet"
);

impl Weights {
    /// Extensions of weights files: safetensors, and the usual ones of PyTorch's `torch.save`.
    pub const FILE_ENDINGS: [&str; 4] = [".safetensors", ".pth", ".pt", ".pth.tar"];
    /// What a repository of the hub begins with.
    pub const HUB: &str = "hub:";

    /// Whether the preprocessing comes with them, and is unknown until they are fetched.
    pub fn describe_themselves(&self) -> bool {
        matches!(self, Self::Hub(_))
    }
}

impl From<String> for Weights {
    fn from(text: String) -> Self {
        if text == "none" {
            Weights::None
        } else if let Some(name) = SetName::find(&text) {
            Weights::Set(name)
        } else if let Some(repository) = text.strip_prefix(Weights::HUB) {
            Weights::Hub(repository.to_owned())
        } else if Weights::FILE_ENDINGS.iter().any(|ending| text.ends_with(ending)) {
            Weights::File(text)
        } else {
            Weights::Model(text)
        }
    }
}

impl From<Weights> for String {
    fn from(weights: Weights) -> String {
        match weights {
            Weights::None => "none".to_owned(),
            Weights::Set(name) => name.as_str().to_owned(),
            Weights::Hub(repository) => Weights::HUB.to_owned() + &repository,
            Weights::File(text) | Weights::Model(text) => text,
        }
    }
}

/// The network and its base weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backbone {
    pub architecture: Architecture,
    /// `none`, a known set of the architecture such as `imagenet`, `hub:owner/repository`, a model of this server, or a file in
    /// `--weights-dir`. By default the architecture's first known set; `none` where there is none, as for the networks that are designed for
    /// images of 32 pixels.
    pub weights: Weights,
}

impl Backbone {
    /// The preprocessing that the base weights were trained for: the set's, otherwise that of the architecture's default weights.
    pub fn recipe(&self) -> Recipe {
        let set = match self.weights {
            Weights::Set(name) => self.architecture.weight_set(name.as_str()),
            _ => None,
        };
        set.map_or_else(|| self.architecture.recipe(), |set| set.recipe)
    }
}

pub(in crate::domain::spec) fn parse(mut fields: Fields) -> Backbone {
    let architecture = fields.choice("architecture", Architecture::default(), &Architecture::names());
    let first = architecture.weight_sets().first();
    let default = first
        .and_then(|set| SetName::find(set.name))
        .map_or(Weights::None, Weights::Set);
    let weights = match fields.text("weights").map(parse_weights) {
        None => default,
        Some(Ok(Weights::Set(name))) if architecture.weight_set(name.as_str()).is_none() => {
            fields.fault("weights", "conflict", no_such_set(architecture, name.as_str()));
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

fn no_such_set(architecture: Architecture, name: &str) -> String {
    let called = if name == "imagenet" {
        "ImageNet".to_owned()
    } else {
        format!("`{name}`")
    };
    let known: Vec<String> = architecture
        .weight_sets()
        .iter()
        .map(|set| format!("`{}`", set.name))
        .collect();
    let known = match known.is_empty() {
        true => String::new(),
        false => format!("{}, ", known.join(", ")),
    };
    format!(
        "there are no {called} weights for {architecture}; use {known}`none`, a model of this server, or a file of the server's weights folder"
    )
}

fn parse_weights(text: &str) -> Result<Weights, &'static str> {
    let weights = Weights::from(text.to_owned());
    let plain = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
        (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
    };
    let is_repository = |text: &str| {
        let (path, revision) = text
            .split_once('@')
            .map_or((text, None), |(path, revision)| (path, Some(revision)));
        let part = |part: &str| plain(part) && !part.contains('@');
        let parts: Vec<&str> = path.split('/').collect();
        parts.len() == 2 && parts.into_iter().all(part) && revision.is_none_or(part)
    };
    match &weights {
        Weights::Hub(repository) if !is_repository(repository) => Err(
            "must name a repository of the hub as `hub:owner/repository`, or `hub:owner/repository@revision`",
        ),
        Weights::File(name) if !plain(name) => {
            Err("must be the name of a file in the server's weights folder, without a path")
        }
        Weights::Model(name) if !plain(name) => Err(
            "must be `none`, a set of pretrained weights such as `imagenet`, `hub:owner/repository`, a model's id or name, or the name of a \
             file in the server's weights folder (`.safetensors`, `.pth`, `.pt` or `.pth.tar`)",
        ),
        _ => Ok(weights),
    }
}
