//! Presets: values for everything that a caller leaves open.
//!
//! A preset fills in fields of the caller's document before it is read, so that each value is checked and shown like any other. A field that
//! the caller gives wins; so does an object whose `name` or `kind` is another than the preset's.

mod choice;
pub(super) mod fill;
mod strong;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

pub use self::choice::Circumstances;
use self::fill::fill;
use super::{
    Weights,
    fields::{Faults, Fields},
    training::{backbone, task},
};
use crate::{domain::architecture::Architecture, error::FieldError};

/// Where the values come from that a caller does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The usual defaults: the head alone, step by step, as tutorials do it.
    Tutorial,
    /// Logistic regression on the features of the frozen backbone: seconds.
    Quick,
    /// All layers, with the optimiser, rates, schedule, augmentation and regularisation that the network's authors use for fine-tuning.
    Strong,
    /// `quick` or `strong`, by the number of images and the device; `preset_reason` says why.
    Auto,
}

impl Preset {
    const ALL: [(&str, Preset); 4] = [
        ("tutorial", Preset::Tutorial),
        ("quick", Preset::Quick),
        ("strong", Preset::Strong),
        ("auto", Preset::Auto),
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Preset::Tutorial => "tutorial",
            Preset::Quick => "quick",
            Preset::Strong => "strong",
            Preset::Auto => "auto",
        }
    }

    fn of(document: &Value) -> Option<Self> {
        let name = document.get("preset")?.as_str()?;
        let known = Self::ALL.iter().find(|(known, _)| *known == name);
        known.map(|(_, preset)| *preset)
    }
}

/// A caller's document with the values of its preset.
pub(super) struct Filled<'a> {
    pub document: Cow<'a, Value>,
    preset: Option<Preset>,
    /// JSON pointers of what the preset gave.
    given: Vec<String>,
}

impl<'a> Filled<'a> {
    /// Fills in what the preset says. Without `circumstances`, `auto` is a fault.
    pub fn of(document: &'a Value, circumstances: Option<&Circumstances>, faults: &Faults) -> Self {
        let unchanged = |document| Self {
            document: Cow::Borrowed(document),
            preset: None,
            given: Vec::new(),
        };
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or("train");
        let trains = matches!(kind, "train" | "lr_find");
        let Some(preset) = Preset::of(document).filter(|_| trains) else {
            return unchanged(document);
        };
        // What is wrong with the backbone is said when the document is read.
        let ignored = Faults::default();
        let backbone = backbone::parse(Fields::root(document, &ignored).object("backbone"));
        let mut reason = None;
        let chosen = match preset {
            Preset::Auto => match choice::choose(&backbone, document, circumstances) {
                Ok((chosen, why)) => {
                    reason = Some(why);
                    chosen
                }
                Err(message) => {
                    let fault = FieldError::new("/preset".to_owned(), "conflict", message);
                    faults.borrow_mut().push(fault);
                    return unchanged(document);
                }
            },
            other => other,
        };
        let values = match chosen {
            Preset::Tutorial | Preset::Auto => json!({}),
            Preset::Quick => quick(document, backbone.architecture),
            Preset::Strong => {
                let task = task::parse(&mut Fields::root(document, &ignored));
                strong::values(backbone.architecture, backbone.weights != Weights::None, task)
            }
        };
        let mut whole = document.clone();
        let mut given = Vec::new();
        fill(&mut whole, values, "", &mut given);
        whole["preset"] = json!(chosen.as_str());
        if let Some(reason) = reason {
            whole["preset_reason"] = json!(reason);
        }
        Self {
            document: Cow::Owned(whole),
            preset: Some(chosen),
            given,
        }
    }

    /// Says where a value comes from that the caller has not sent.
    pub fn explain(&self, fault: FieldError) -> FieldError {
        let (Some(preset), false) = (self.preset, self.given.is_empty()) else {
            return fault;
        };
        let is_of_preset = self.given.iter().any(|given| given.starts_with(&fault.pointer));
        if fault.code != "conflict" && !is_of_preset {
            return fault;
        }
        let given: Vec<String> = self
            .given
            .iter()
            .map(|given| format!("`{}`", given[1..].replace('/', ".")))
            .collect();
        let message = format!(
            "{}. The preset `{}` sets {}",
            fault.message,
            preset.as_str(),
            given.join(", ")
        );
        FieldError { message, ..fault }
    }
}

/// A frozen backbone and a head made at once. Heads that are not trained have no solver.
fn quick(document: &Value, architecture: Architecture) -> Value {
    let kind = document.pointer("/head/kind").and_then(Value::as_str);
    match kind {
        Some("prototype" | "knn") => json!({"freeze": "backbone"}),
        // Its published head is not made of feature vectors.
        None if architecture.design().has_map_features() => {
            json!({"freeze": "backbone", "head": {"kind": "mlp", "solver": "lbfgs"}})
        }
        Some("linear") if architecture.design().has_map_features() => json!({"freeze": "backbone"}),
        _ => json!({"freeze": "backbone", "head": {"solver": "lbfgs"}}),
    }
}

/// Reads the two fields of a preset. Its values are in the document already.
pub(super) fn parse(root: &mut Fields) -> (Option<Preset>, Option<String>) {
    let preset = root
        .raw("preset")
        .is_some()
        .then(|| root.choice("preset", Preset::Tutorial, &Preset::ALL));
    let reason = root
        .text("preset_reason")
        .map(|text| text.chars().take(500).collect());
    (preset, reason)
}

#[cfg(test)]
mod tests;
