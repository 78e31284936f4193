//! How large a picture the network sees, and how a picture of any shape becomes that square.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::Fields;
use crate::domain::preprocessing::Resize;

/// The size of picture that the network sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ImageSpec {
    /// Side of the square, in pixels, 32 to 1024.
    #[schema(minimum = 32, maximum = 1024, default = 224)]
    pub size: u32,
    pub resize: Resize,
}

impl Default for ImageSpec {
    fn default() -> Self {
        Self {
            size: 224,
            resize: Resize::ShortestCrop,
        }
    }
}

pub(super) fn parse(mut fields: Fields) -> ImageSpec {
    let default = ImageSpec::default();
    let image = ImageSpec {
        size: fields.integer("size", default.size.into(), 32, 1024) as u32,
        resize: fields.choice(
            "resize",
            default.resize,
            &[
                ("shortest_crop", Resize::ShortestCrop),
                ("squash", Resize::Squash),
                ("letterbox", Resize::Letterbox),
            ],
        ),
    };
    fields.finish(&[]);
    image
}
