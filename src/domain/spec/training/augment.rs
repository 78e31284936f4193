//! Random augmentation of training images. What each operation does to the pixels is in `worker/augment`; every draw is a function of the
//! job's seed, the epoch and the image.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::spec::fields::Fields;

/// Random augmentation of training images. Applied in the order of torchvision's reference recipe: crop, flips, rotation, RandAugment,
/// colours, grey, blur, erasing, then mixing with another image of the batch. Areas without pixels are filled with the mean colour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Augment {
    /// Flip each training image horizontally with probability ½, drawn in each epoch.
    #[schema(default = false)]
    pub horizontal_flip: bool,
    /// Flip each training image vertically with probability ½, drawn in each epoch.
    #[schema(default = false)]
    pub vertical_flip: bool,
    /// Rotate by an angle drawn uniformly from ± this, 0 to 180 degrees (torchvision `RandomRotation`, bilinear).
    #[schema(minimum = 0, maximum = 180, default = 0)]
    pub rotation_degrees: f64,
    /// Instead of resizing the whole image, crop a fraction of its area drawn from [min, max], with an aspect ratio between 3:4 and 4:3,
    /// and resize it to the input size (torchvision `RandomResizedCrop`, whose own range is [0.08, 1]). Null is off.
    #[schema(min_items = 2, max_items = 2)]
    pub random_resized_crop: Option<[f64; 2]>,
    /// Change brightness, contrast and saturation, each by a factor from 1 ± this, in random order, 0 to 1 (torchvision `ColorJitter`).
    #[schema(minimum = 0, maximum = 1, default = 0.0)]
    pub color_jitter: f64,
    /// Shift the hue by a fraction of the colour circle drawn from ± this, 0 to 0.5 (torchvision `ColorJitter`).
    #[schema(minimum = 0, maximum = 0.5, default = 0.0)]
    pub hue_jitter: f64,
    /// Probability that an image loses its colours, 0 to 1 (torchvision `RandomGrayscale`).
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 0, maximum = 1, default = 0.0)]
    pub grayscale: f64,
    /// Probability that an image is blurred, 0 to 1, by a Gaussian with a standard deviation drawn from 0.1 to 2 pixels (torchvision
    /// `GaussianBlur`; as in SimCLR, Chen et al. 2020).
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(minimum = 0, maximum = 1, default = 0.0)]
    pub blur: f64,
    /// Operations drawn from torchvision's list for each image (Cubuk et al. 2020, "RandAugment"). Null is off, `{}` means its defaults.
    pub rand_augment: Option<RandAugment>,
    /// Probability that a rectangle of 2 to 33 % of the image is filled with the mean colour, 0 to 1 (Zhong et al. 2017, "Random Erasing
    /// Data Augmentation"; torchvision `RandomErasing`).
    #[schema(minimum = 0, maximum = 1, default = 0.0)]
    pub random_erasing: f64,
    /// Blend each image and its label with another of the batch, in proportions drawn from Beta(α, α) in each step, with this value as α, 0
    /// to 10; 0 is off (Zhang et al. 2018, "mixup"; 0.2 is usual).
    #[schema(minimum = 0, maximum = 10, default = 0.0)]
    pub mixup: f64,
    /// Paste a rectangle of another image of the batch, whose area is drawn from Beta(α, α) in each step, and mix the labels by area, 0 to
    /// 10; 0 is off (Yun et al. 2019, "CutMix"; 1 is usual). Together with `mixup` each step uses one of the two, with probability ½ each.
    #[schema(minimum = 0, maximum = 10, default = 0.0)]
    pub cutmix: f64,
    /// Draw this many views of each image and use them in turn (view = epoch modulo this), 1 to 32, instead of a new one in each epoch. The
    /// outputs of frozen layers are then computed only once per view. Null is off.
    #[schema(minimum = 1, maximum = 32)]
    pub views: Option<u32>,
}

fn is_zero(probability: &f64) -> bool {
    *probability == 0.0
}

/// Number and magnitude of the operations, as in torchvision's `RandAugment`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RandAugment {
    /// Operations applied one after another to each image, 1 to 8.
    #[schema(minimum = 1, maximum = 8, default = 2)]
    pub num_ops: u32,
    /// Magnitude of all operations, 0 to 30: an index into torchvision's 31 steps.
    #[schema(minimum = 0, maximum = 30, default = 9)]
    pub magnitude: u32,
}

impl Default for RandAugment {
    fn default() -> Self {
        Self {
            num_ops: 2,
            magnitude: 9,
        }
    }
}

impl Augment {
    /// Whether single images are augmented with anything but flips: then each draw gives a different image.
    pub fn has_endless_views(&self) -> bool {
        self.rotation_degrees > 0.0
            || self.random_resized_crop.is_some()
            || self.color_jitter > 0.0
            || self.hue_jitter > 0.0
            || self.grayscale > 0.0
            || self.blur > 0.0
            || self.rand_augment.is_some()
            || self.random_erasing > 0.0
    }

    /// Whether images of a batch are mixed with each other.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }
}

pub(in crate::domain::spec) fn parse(mut fields: Fields) -> Augment {
    let from_0_to = |limit: f64| move |value: f64| (0.0..=limit).contains(&value);
    let augment = Augment {
        horizontal_flip: fields.boolean("horizontal_flip", false),
        vertical_flip: fields.boolean("vertical_flip", false),
        rotation_degrees: fields.number("rotation_degrees", 0.0, "must be from 0 to 180", from_0_to(180.0)),
        random_resized_crop: parse_scale(&mut fields),
        color_jitter: fields.number("color_jitter", 0.0, "must be from 0 to 1", from_0_to(1.0)),
        hue_jitter: fields.number("hue_jitter", 0.0, "must be from 0 to 0.5", from_0_to(0.5)),
        grayscale: fields.number("grayscale", 0.0, "must be from 0 to 1", from_0_to(1.0)),
        blur: fields.number("blur", 0.0, "must be from 0 to 1", from_0_to(1.0)),
        rand_augment: parse_rand_augment(&mut fields),
        random_erasing: fields.number("random_erasing", 0.0, "must be from 0 to 1", from_0_to(1.0)),
        mixup: fields.number("mixup", 0.0, "must be from 0 to 10", from_0_to(10.0)),
        cutmix: fields.number("cutmix", 0.0, "must be from 0 to 10", from_0_to(10.0)),
        views: fields.optional_integer("views", 1, 32).map(|views| views as u32),
    };
    if augment.views.is_some() {
        check_views(&augment, &fields);
    }
    fields.finish(&[]);
    augment
}

/// Views without an effect are a misunderstanding that should be reported.
fn check_views(augment: &Augment, fields: &Fields) {
    if augment.mixes() {
        let message = "mixed images differ in every step, so there are no views to reuse; leave out `views`, or `mixup` and `cutmix`";
        fields.fault("views", "conflict", message);
    } else if !augment.has_endless_views() && !augment.horizontal_flip && !augment.vertical_flip {
        let message =
            "nothing is random, so all views are the same; choose an augmentation, or leave out `views`";
        fields.fault("views", "conflict", message);
    }
}

/// Mixing needs a second image in the batch.
pub(in crate::domain::spec) fn check_batch(augment: &Augment, batch_size: u32, fields: &Fields) {
    if augment.mixes() && batch_size < 2 {
        let message = "`mixup` and `cutmix` mix the images of a batch; set `batch_size` to at least 2, or leave them out";
        fields.fault("batch_size", "conflict", message);
    }
}

fn parse_scale(fields: &mut Fields) -> Option<[f64; 2]> {
    let value = fields.raw("random_resized_crop")?;
    let pair: Option<Vec<f64>> = value
        .as_array()
        .and_then(|values| values.iter().map(Value::as_f64).collect());
    let rule = "must be two numbers, the smallest and the largest fraction of the area, such as [0.08, 1]";
    let Some(&[least, most]) = pair.as_deref() else {
        fields.fault("random_resized_crop", "type", rule);
        return None;
    };
    if !(least > 0.0 && least <= most && most <= 1.0) {
        let message = "the smallest fraction must be > 0, the largest not below it and at most 1";
        fields.fault("random_resized_crop", "range", message);
        return None;
    }
    Some([least, most])
}

fn parse_rand_augment(fields: &mut Fields) -> Option<RandAugment> {
    fields.raw("rand_augment")?;
    let default = RandAugment::default();
    let mut inner = fields.object("rand_augment");
    let rand_augment = RandAugment {
        num_ops: inner.integer("num_ops", default.num_ops.into(), 1, 8) as u32,
        magnitude: inner.integer("magnitude", default.magnitude.into(), 0, 30) as u32,
    };
    inner.finish(&[]);
    Some(rand_augment)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::domain::spec::JobSpec;

    fn faults(augment: serde_json::Value) -> Vec<(String, String)> {
        let spec = json!({"dataset": "d", "augment": augment});
        let faults = JobSpec::parse(&spec).err().unwrap_or_default();
        let told = |fault: crate::error::FieldError| (fault.pointer, fault.code);
        faults.into_iter().map(told).collect()
    }

    fn one(pointer: &str, code: &str) -> Vec<(String, String)> {
        vec![(format!("/augment/{pointer}"), code.to_owned())]
    }

    #[test]
    fn everything_at_once_is_a_spec_and_resolves_to_itself() {
        let augment = json!({
            "horizontal_flip": true, "vertical_flip": true, "rotation_degrees": 15, "random_resized_crop": [0.08, 1],
            "color_jitter": 0.4, "hue_jitter": 0.1, "rand_augment": {"magnitude": 5}, "random_erasing": 0.25, "views": 4
        });
        let spec = JobSpec::parse(&json!({"dataset": "d", "augment": augment})).unwrap();
        assert_eq!(spec.augment.random_resized_crop, Some([0.08, 1.0]));
        assert_eq!(spec.augment.rand_augment.as_ref().unwrap().num_ops, 2);
        let again = JobSpec::parse(&serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
        let mixed =
            json!({"dataset": "d", "augment": {"mixup": 0.2, "cutmix": 1, "random_resized_crop": null}});
        let spec = JobSpec::parse(&mixed).unwrap();
        assert_eq!(
            JobSpec::parse(&serde_json::to_value(&spec).unwrap()).unwrap(),
            spec
        );
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        assert_eq!(
            faults(json!({"rotation_degrees": 181})),
            one("rotation_degrees", "range")
        );
        assert_eq!(
            faults(json!({"color_jitter": -0.1})),
            one("color_jitter", "range")
        );
        assert_eq!(faults(json!({"hue_jitter": 0.6})), one("hue_jitter", "range"));
        assert_eq!(
            faults(json!({"random_erasing": 1.5})),
            one("random_erasing", "range")
        );
        assert_eq!(faults(json!({"mixup": 11})), one("mixup", "range"));
        for wrong in [
            json!(true),
            json!([0.5]),
            json!([0.1, "1"]),
            json!({"scale": [0.1, 1]}),
        ] {
            assert_eq!(
                faults(json!({"random_resized_crop": wrong})),
                one("random_resized_crop", "type")
            );
        }
        for wrong in [json!([0, 1]), json!([0.9, 0.5]), json!([0.5, 1.1])] {
            assert_eq!(
                faults(json!({"random_resized_crop": wrong})),
                one("random_resized_crop", "range")
            );
        }
        assert_eq!(faults(json!({"rand_augment": true})), one("rand_augment", "type"));
        let rand_augment = json!({"rand_augment": {"num_ops": 0, "prob": 1}});
        let mut told = faults(rand_augment);
        told.sort();
        assert_eq!(
            told,
            [
                one("rand_augment/num_ops", "range"),
                one("rand_augment/prob", "unknown_field")
            ]
            .concat()
        );
    }

    #[test]
    fn settings_that_contradict_each_other_are_faults() {
        assert_eq!(faults(json!({"views": 3})), one("views", "conflict"));
        assert_eq!(
            faults(json!({"views": 33, "horizontal_flip": true})),
            one("views", "range")
        );
        assert_eq!(
            faults(json!({"views": 3, "color_jitter": 0.1, "mixup": 0.2})),
            one("views", "conflict")
        );
        let spec = json!({"dataset": "d", "augment": {"cutmix": 1.0}, "batch_size": 1});
        let faults = JobSpec::parse(&spec).unwrap_err();
        assert_eq!((faults.len(), faults[0].pointer.as_str()), (1, "/batch_size"));
    }
}
