//! The classification head.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{architecture::Architecture, spec::fields::Fields};

/// The classification head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HeadSpec {
    /// Probability with which each feature is dropped in training, 0 up to, but not including, 1 (Srivastava et al. 2014, as
    /// torch.nn.Dropout).
    ///
    /// The default is what the authors of the network use: 0 for ResNets.
    #[schema(minimum = 0.0, exclusive_maximum = 1.0)]
    pub dropout: f64,
}

pub(in crate::domain::spec) fn parse(mut fields: Fields, architecture: Architecture) -> HeadSpec {
    let head = HeadSpec {
        dropout: fields.number(
            "dropout",
            architecture.design().dropout,
            "must be at least 0 and below 1",
            |share| (0.0..1.0).contains(&share),
        ),
    };
    fields.finish(&[]);
    head
}
