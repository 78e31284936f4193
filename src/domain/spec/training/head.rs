//! The classification head.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{architecture::Architecture, spec::fields::Fields};

/// What happens to the head of the base weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadKeep {
    /// It is kept where its classes are known by name and all classes of the dataset are among them; otherwise a new one is drawn.
    #[default]
    Auto,
    /// A new one is always drawn.
    Never,
}

/// The classification head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HeadSpec {
    /// Probability with which each feature is dropped in training, 0 up to, but not including, 1 (Srivastava et al. 2014, as
    /// torch.nn.Dropout).
    ///
    /// The default is what the authors of the network use: 0 for ResNets.
    #[schema(minimum = 0.0, exclusive_maximum = 1.0)]
    pub dropout: f64,
    #[serde(default)]
    pub keep: HeadKeep,
}

pub(in crate::domain::spec) fn parse(mut fields: Fields, architecture: Architecture) -> HeadSpec {
    let head = HeadSpec {
        dropout: fields.number(
            "dropout",
            architecture.design().dropout,
            "must be at least 0 and below 1",
            |share| (0.0..1.0).contains(&share),
        ),
        keep: fields.choice(
            "keep",
            HeadKeep::Auto,
            &[("auto", HeadKeep::Auto), ("never", HeadKeep::Never)],
        ),
    };
    fields.finish(&[]);
    head
}
