//! The network's input: its size, and how an image becomes it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::backbone::Backbone;
use crate::domain::{
    architecture::catalogue::Recipe,
    models::preprocessing::{Interpolation, Preprocessing, Resize},
    spec::fields::Fields,
};

/// The network's input. What is absent is as the base weights need it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ImageSpec {
    /// Side of the square, in pixels, 32 to 1024. By default the size that the base weights were trained for.
    #[schema(minimum = 32, maximum = 1024, default = 224)]
    pub size: u32,
    pub resize: Resize,
    /// Interpolation of every resize. By default, like the following fields, that of the base weights; they are absent in specs from before
    /// there was a choice, and with `"weights": "hub:…"`, whose `config.json` gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// Side of the centre crop in relation to the shorter side of the resized image, 0.5 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.5, maximum = 1.0)]
    pub crop_share: Option<f64>,
    /// Mean of red, green and blue, for pixels scaled to 0–1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 3, max_items = 3)]
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of red, green and blue, above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 3, max_items = 3)]
    pub std: Option<[f32; 3]>,
}

impl Default for ImageSpec {
    fn default() -> Self {
        Self {
            size: 224,
            resize: Resize::ShortestCrop,
            interpolation: None,
            crop_share: None,
            mean: None,
            std: None,
        }
    }
}

impl ImageSpec {
    /// Fills in what is absent.
    pub fn complete(&mut self, recipe: &Recipe) {
        self.interpolation.get_or_insert(recipe.interpolation);
        self.crop_share.get_or_insert(recipe.crop_share);
        self.mean.get_or_insert(recipe.mean);
        self.std.get_or_insert(recipe.std);
    }

    /// The complete preprocessing; what is absent is the recipe's.
    pub fn preprocessing(&self, recipe: &Recipe) -> Preprocessing {
        let crop_share = self.crop_share.unwrap_or(recipe.crop_share);
        Preprocessing {
            resize: self.resize,
            resize_to: Recipe::resize_to(crop_share, self.size),
            crop: self.size,
            mean: self.mean.unwrap_or(recipe.mean),
            std: self.std.unwrap_or(recipe.std),
            interpolation: self.interpolation.unwrap_or(recipe.interpolation),
            used_bits: None,
        }
    }
}

pub(in crate::domain::spec) fn parse(mut fields: Fields, backbone: &Backbone) -> ImageSpec {
    let recipe = backbone.recipe();
    let size = fields.integer("size", recipe.native_size.into(), 32, 1024) as u32;
    let architecture = backbone.architecture;
    if let Err(fault) = architecture.check_size(size) {
        fields.fault("size", "range", fault.rule(architecture));
    }
    let mut image = ImageSpec {
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
        interpolation: parse_interpolation(&mut fields),
        crop_share: fields.optional_number("crop_share", "must be 0.5 to 1", |share| {
            (0.5..=1.0).contains(&share)
        }),
        mean: parse_channels(&mut fields, "mean", -1000.0),
        std: parse_channels(&mut fields, "std", 1e-6),
    };
    fields.finish(&[]);
    if !backbone.weights.describe_themselves() {
        image.complete(&recipe);
    }
    image
}

fn parse_interpolation(fields: &mut Fields) -> Option<Interpolation> {
    fields.raw("interpolation")?;
    Some(fields.choice("interpolation", Interpolation::Bilinear, &Interpolation::CHOICES))
}

/// Three numbers of at least `least`, at most 1000.
fn parse_channels(fields: &mut Fields, name: &'static str, least: f64) -> Option<[f32; 3]> {
    let value = fields.raw(name)?;
    let numbers = value.as_array().and_then(|items| {
        let numbers: Option<Vec<f64>> = items.iter().map(serde_json::Value::as_f64).collect();
        <[f64; 3]>::try_from(numbers?).ok()
    });
    let fits = |numbers: &[f64; 3]| numbers.iter().all(|number| (least..=1000.0).contains(number));
    match numbers.filter(fits) {
        Some(numbers) => Some(numbers.map(|number| number as f32)),
        None => {
            let rule = "must be three numbers, of red, green and blue on the scale 0–1, such as [0.485, 0.456, 0.406]";
            fields.fault(name, "range", rule);
            None
        }
    }
}
