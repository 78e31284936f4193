//! Random changes to training images.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::Fields;

/// Random changes to training images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Augment {
    /// Mirror each training image with probability ½, drawn anew each epoch.
    #[schema(default = false)]
    pub horizontal_flip: bool,
}

const PLANNED: &[&str] = &[
    "vertical_flip",
    "rotation_degrees",
    "random_resized_crop",
    "color_jitter",
    "random_erasing",
    "mixup",
    "cutmix",
];

pub(super) fn parse(mut fields: Fields) -> Augment {
    let augment = Augment {
        horizontal_flip: fields.boolean("horizontal_flip", false),
    };
    fields.finish(PLANNED);
    augment
}
