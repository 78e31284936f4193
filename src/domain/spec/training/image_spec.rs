//! How large a picture the network sees, and how a picture of any shape becomes that square.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{architecture::Architecture, models::preprocessing::Resize, spec::fields::Fields};

/// The size of picture that the network sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ImageSpec {
    /// Side of the square, in pixels, 32 to 1024. The networks that are made for pictures of 32 pixels have 32 as their default.
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

pub(in crate::domain::spec) fn parse(mut fields: Fields, architecture: Architecture) -> ImageSpec {
    let image = ImageSpec {
        size: fields.integer("size", architecture.native_size().into(), 32, 1024) as u32,
        resize: fields.choice(
            "resize",
            Resize::ShortestCrop,
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
