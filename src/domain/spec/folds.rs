//! What kinds of jobs have in common that make quick heads on folds of a dataset: the head, the backbone, the folds.

use serde_json::{Value, json};

use super::{Backbone, JobSpec, Weights, fields::Fields, split, training::backbone};
use crate::{domain::datasets::split::GroupBy, error::FieldError};

/// The training of a quick head on this backbone, as a caller writes it.
///
/// # Errors
/// What is wrong with the backbone, and what follows from that.
pub(super) fn quick_training(backbone: &Value) -> Result<JobSpec, Vec<FieldError>> {
    JobSpec::parse(&json!({"dataset": "any", "preset": "quick", "backbone": backbone}))
}

/// Reads `backbone`, which needs weights. `purpose` is who needs them, such as "a label check".
pub(super) fn parse_backbone(root: &mut Fields, purpose: &str) -> Backbone {
    let backbone = backbone::parse(root.object("backbone"));
    if backbone.weights == Weights::None {
        let fields = root.object("backbone");
        fields.fault("weights", "conflict", without_weights(purpose));
    }
    backbone
}

/// Why a backbone without weights is of no use.
pub(super) fn without_weights(purpose: &str) -> String {
    format!(
        "{purpose} needs the features of a trained backbone, and this one has no weights; name a known set, a file of the server's weights \
         folder or a model"
    )
}

/// Reads `folds`, 2 to 20, by default 5.
pub(super) fn parse_folds(root: &mut Fields) -> u32 {
    root.integer("folds", 5, 2, 20) as u32
}

/// Reads `group_by`, as in `split`.
pub(super) fn parse_group_by(root: &mut Fields) -> Option<GroupBy> {
    root.optional_object("group_by").map(split::parse_group_by)
}
