//! How large a picture the network sees.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::Fields;
use crate::domain::{architecture::Architecture, preprocessing::Resize};

/// The size of picture that the network sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImageSpec {
    /// Side of the square, in pixels, 32 to 1024. The networks that are made for pictures of 32 pixels have 32 as their default.
    #[schema(minimum = 32, maximum = 1024, default = 224)]
    pub size: u32,
    pub resize: Resize,
}

pub(super) fn parse(mut fields: Fields, architecture: Architecture) -> ImageSpec {
    let image = ImageSpec {
        size: fields.integer("size", architecture.native_size().into(), 32, 1024) as u32,
        resize: parse_resize(&mut fields),
    };
    fields.finish(&[]);
    image
}

fn parse_resize(fields: &mut Fields) -> Resize {
    if let Some(text @ ("squash" | "letterbox")) = fields.raw("resize").and_then(Value::as_str) {
        fields.fault(
            "resize",
            "not_supported",
            format!("this version cannot `{text}` yet; use `shortest_crop`"),
        );
        return Resize::ShortestCrop;
    }
    fields.choice(
        "resize",
        Resize::ShortestCrop,
        &[("shortest_crop", Resize::ShortestCrop)],
    )
}
