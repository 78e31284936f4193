//! What `auto` chooses.

use serde_json::Value;

use super::Preset;
use crate::domain::spec::{Backbone, Task, Weights};

/// From so many training images on, training all layers pays (Kornblith et al. 2019, "Do Better ImageNet Models Transfer Better?", figure 8:
/// with fewer, a classifier on fixed features is as good or better).
const ENOUGH: u64 = 800;

/// What a choice depends on besides the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Images for training, where the dataset has been read.
    pub train_images: Option<u64>,
    pub has_gpu: bool,
}

/// A preset, and why it was chosen.
///
/// # Errors
/// What is missing for a choice.
pub fn choose(
    backbone: &Backbone,
    document: &Value,
    circumstances: Option<&Circumstances>,
) -> Result<(Preset, String), String> {
    if backbone.weights == Weights::None {
        let why = "auto chose strong: without pretrained weights, all layers have to learn";
        return Ok((Preset::Strong, why.to_owned()));
    }
    let several = [Task::MultiLabel, Task::MultiTask].map(Task::as_str);
    if document
        .get("task")
        .and_then(Value::as_str)
        .is_some_and(|task| several.contains(&task))
    {
        let why = "auto chose tutorial: heads that tell several labels or tasks are trained step by step, and all layers would take long";
        return Ok((Preset::Tutorial, why.to_owned()));
    }
    let images = circumstances.and_then(|circumstances| circumstances.train_images);
    let Some(images) = images else {
        return Err("`auto` needs the number of training images, and the dataset has not been read yet; wait until it is ready, or choose \
                    `quick` or `strong`"
            .to_owned());
    };
    let device = document.get("device").and_then(Value::as_str).unwrap_or("auto");
    let on_gpu =
        device.starts_with("cuda") || (device == "auto" && circumstances.is_some_and(|found| found.has_gpu));
    Ok(match (images < ENOUGH, on_gpu) {
        (true, _) => (
            Preset::Quick,
            format!(
                "auto chose quick: with {images} training images (fewer than {ENOUGH}), a head on fixed features is usually as good"
            ),
        ),
        (false, false) => (
            Preset::Quick,
            format!(
                "auto chose quick: training all layers with {images} images takes hours without a GPU; choose strong if you can wait"
            ),
        ),
        (false, true) => (
            Preset::Strong,
            format!(
                "auto chose strong: {images} training images are enough to train all layers, and there is a GPU"
            ),
        ),
    })
}
