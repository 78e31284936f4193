//! The result of a comparison of backbones: `comparison.json`, as the worker writes it and the API returns it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{architecture::Architecture, models::model::DatasetLineage};

/// Backbones with a head solved on their frozen features, the most accurate first; those that could not be measured are last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// Always `comparison`.
    #[schema(example = "comparison")]
    pub object: String,
    pub dataset: DatasetLineage,
    /// Validation images, the same for all backbones.
    pub images: u64,
    /// What a prediction was timed on: `cpu` or `cuda:N`.
    pub device: String,
    /// Threads that a prediction was timed with.
    pub threads: u32,
    pub backbones: Vec<ComparedBackbone>,
}

/// One backbone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedBackbone {
    pub architecture: Architecture,
    /// The weights that were asked for.
    pub weights: String,
    /// Side of the images, in pixels.
    pub image_size: u32,
    /// What was measured; null where `error` says why not.
    pub measured: Option<Measured>,
    pub error: Option<String>,
}

/// What a backbone gives and costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Measured {
    /// Fraction of the validation images whose likeliest class is the right one, 0 to 1.
    pub accuracy: f64,
    /// Interval of the accuracy at 95 % confidence (Wilson 1927): two backbones whose intervals overlap widely may be equally good.
    pub accuracy_interval: [f64; 2],
    /// Mean F1 over the classes, as in evaluations.
    pub macro_f1: f64,
    /// Mean cross entropy, before calibration.
    pub loss: f64,
    /// Penalty of the head that is the best one.
    pub l2: Option<f64>,
    /// Time for its features, its head and all measurements.
    pub seconds: f64,
    /// Time for one image, as it is served: median, in milliseconds, without decoding.
    pub latency_ms: f64,
    /// Trainable parameters, with the head.
    pub parameters: u64,
    /// Multiply-adds for one image.
    pub multiply_adds: u64,
    /// Size of the model's tensors.
    pub bytes: u64,
}

impl Comparison {
    pub fn new(
        dataset: DatasetLineage,
        images: u64,
        device: &str,
        threads: u32,
        mut backbones: Vec<ComparedBackbone>,
    ) -> Self {
        // The sort is stable: equally good ones stay in the order of the request.
        let accuracy =
            |one: &ComparedBackbone| one.measured.as_ref().map_or(-1.0, |measured| measured.accuracy);
        backbones.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
        Self {
            object: "comparison".to_owned(),
            dataset,
            images,
            device: device.to_owned(),
            threads,
            backbones,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backbone(architecture: Architecture, accuracy: Option<f64>) -> ComparedBackbone {
        let measured = accuracy.map(|accuracy| Measured {
            accuracy,
            accuracy_interval: [0.0, 1.0],
            macro_f1: accuracy,
            loss: 0.1,
            l2: None,
            seconds: 1.0,
            latency_ms: 1.0,
            parameters: 1,
            multiply_adds: 1,
            bytes: 4,
        });
        ComparedBackbone {
            architecture,
            weights: "imagenet".to_owned(),
            image_size: 224,
            error: measured.is_none().then(|| "no weights".to_owned()),
            measured,
        }
    }

    #[test]
    fn the_most_accurate_is_first_and_what_was_not_measured_last() {
        let lineage: DatasetLineage = serde_json::from_value(serde_json::json!({
            "id": crate::domain::id::DatasetId::new(), "name": "d", "version": 1, "sha256": "", "content_sha256": null,
        }))
        .unwrap();
        let backbones = vec![
            backbone(Architecture::Resnet18, None),
            backbone(Architecture::Resnet34, Some(0.5)),
            backbone(Architecture::Resnet50, Some(0.9)),
            backbone(Architecture::Resnet20, Some(0.5)),
        ];
        let comparison = Comparison::new(lineage, 10, "cpu", 2, backbones);
        let order: Vec<_> = comparison.backbones.iter().map(|one| one.architecture).collect();
        assert_eq!(
            order,
            [
                Architecture::Resnet50,
                Architecture::Resnet34,
                Architecture::Resnet20,
                Architecture::Resnet18
            ]
        );
    }
}
