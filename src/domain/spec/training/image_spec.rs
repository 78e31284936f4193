//! The size of the network's input.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    architecture::{Architecture, SizeFault},
    models::preprocessing::Resize,
    spec::fields::Fields,
};

/// The size of the network's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ImageSpec {
    /// Side of the square, in pixels, 32 to 1024. The default of networks designed for images of 32 pixels is 32.
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
    let size = fields.integer("size", architecture.native_size().into(), 32, 1024) as u32;
    match architecture.check_size(size) {
        Ok(()) => {}
        Err(SizeFault::TooSmall { least }) => {
            let rule = format!("must be at least {least} for {architecture}");
            fields.fault("size", "range", rule);
        }
        Err(SizeFault::NotMultiple { of }) => {
            let rule = format!(
                "must be a multiple of {of} for {architecture}, which sees the image in patches of {of} pixels"
            );
            fields.fault("size", "range", rule);
        }
    }
    let image = ImageSpec {
        size,
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
