//! Aliases: a user's own names for models, such as `production`, that can be moved from model to model.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{id::ModelId, name::Name, spec::Weights, time::Timestamp};

/// A name that stands for one model at a time. It can be used wherever a model's name can.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alias {
    /// Always `alias`.
    #[schema(example = "alias")]
    pub object: String,
    #[schema(example = "production")]
    pub name: Name,
    /// The model that it refers to.
    pub model: ModelId,
    pub model_name: Name,
    pub model_version: u32,
    /// Increases with every move and is never reused for the same name; the `ETag` is derived from it.
    pub revision: u32,
    pub created_at: Timestamp,
    /// Since when it has referred to this model.
    pub moved_at: Timestamp,
    /// Models that it referred to before, latest first: the targets of rollbacks. Deleted models are not among them.
    pub history: Vec<FormerModel>,
}

/// A model that an alias referred to before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FormerModel {
    pub model: ModelId,
    pub model_name: Name,
    pub model_version: u32,
    /// Of the alias, when it started to refer to the model.
    pub revision: u32,
    pub moved_at: Timestamp,
}

impl Alias {
    /// The target of a rollback: the latest of the former models that is not the current one.
    pub fn previous(&self) -> Option<&FormerModel> {
        self.history.iter().find(|former| former.model != self.model)
    }
}

/// A name for a model or an alias.
///
/// # Errors
/// Which rule the name violates.
pub fn parse_name(text: &str) -> Result<Name, String> {
    let name = Name::parse(text).map_err(|fault| fault.to_string())?;
    // As base weights it would be mistaken for a file.
    match Weights::from(text.to_owned()) {
        Weights::Model(_) => Ok(name),
        _ => Err(format!(
            "names that end in {} are reserved for files of weights",
            Weights::FILE_ENDINGS
                .map(|ending| format!("`{ending}`"))
                .join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_be_taken_for_something_else_is_none() {
        assert_eq!(parse_name("production").unwrap().as_str(), "production");
        for text in [
            "",
            "a b",
            "mdl_1",
            "none",
            "imagenet",
            "x.safetensors",
            "x.pth",
            "x.pt",
            "prod@1",
        ] {
            assert!(parse_name(text).is_err(), "{text}");
        }
    }
}
