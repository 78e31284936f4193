//! The result of a cross-validation: `cross_validation.json`, as the worker writes it and the API returns it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{architecture::Architecture, metrics, models::model::DatasetLineage};

/// How accurate quick heads are that were made of all folds but one and judged by that one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CrossValidation {
    /// Always `cross_validation`.
    #[schema(example = "cross_validation")]
    pub object: String,
    pub dataset: DatasetLineage,
    /// Images that took part: all but those of the dataset's own test split.
    pub images: u64,
    pub architecture: Architecture,
    /// The base weights.
    pub weights: String,
    /// Side of the images, in pixels.
    pub image_size: u32,
    pub folds: u32,
    /// Mean accuracy of all folds and seeds, 0 to 1.
    pub accuracy: f64,
    /// Interval of the accuracy at 95 % confidence: the corrected resampled t-test (Nadeau and Bengio 2003, with the correction for repeated
    /// cross-validation of Bouckaert and Frank 2004), which allows for the folds having most of their training images in common.
    pub accuracy_interval: [f64; 2],
    /// Mean macro F1.
    pub macro_f1: f64,
    /// Mean cross entropy, before calibration.
    pub loss: f64,
    /// By seed, in order.
    pub seeds: Vec<SeedScore>,
    /// By seed and fold, in order.
    pub scores: Vec<FoldScore>,
}

/// The folds of one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeedScore {
    pub seed: u64,
    /// Mean accuracy of its folds, 0 to 1.
    pub accuracy: f64,
}

/// One fold, judged by a head that was made of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FoldScore {
    pub seed: u64,
    /// From 1.
    pub fold: u32,
    /// Images in the fold.
    pub images: u64,
    /// Fraction of its images whose likeliest class is the right one, 0 to 1.
    pub accuracy: f64,
    /// Mean F1 over the classes, as in evaluations.
    pub macro_f1: f64,
    /// Mean cross entropy, before calibration.
    pub loss: f64,
    /// Penalty of the head.
    pub l2: f64,
}

/// What was measured, besides the numbers.
pub struct Measured {
    pub dataset: DatasetLineage,
    pub images: u64,
    pub architecture: Architecture,
    pub weights: String,
    pub image_size: u32,
    pub folds: u32,
}

impl CrossValidation {
    /// `scores` are those of every seed and fold, in order; at least two.
    pub fn of(measured: Measured, scores: Vec<FoldScore>) -> Self {
        let accuracies: Vec<f64> = scores.iter().map(|score| score.accuracy).collect();
        let by_seed = scores.chunk_by(|one, other| one.seed == other.seed);
        let of_seed = |scores: &[FoldScore]| SeedScore {
            seed: scores[0].seed,
            accuracy: mean(scores, |score| score.accuracy),
        };
        Self {
            object: "cross_validation".to_owned(),
            dataset: measured.dataset,
            images: measured.images,
            architecture: measured.architecture,
            weights: measured.weights,
            image_size: measured.image_size,
            folds: measured.folds,
            accuracy: mean(&scores, |score| score.accuracy),
            accuracy_interval: metrics::cross_validated_interval(&accuracies, measured.folds),
            macro_f1: mean(&scores, |score| score.macro_f1),
            loss: mean(&scores, |score| score.loss),
            seeds: by_seed.map(of_seed).collect(),
            scores,
        }
    }
}

fn mean(scores: &[FoldScore], of: impl Fn(&FoldScore) -> f64) -> f64 {
    scores.iter().map(of).sum::<f64>() / scores.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_summed_up_apart() {
        let score = |seed, fold, accuracy| FoldScore {
            seed,
            fold,
            images: 10,
            accuracy,
            macro_f1: accuracy / 2.0,
            loss: 1.0 - accuracy,
            l2: 0.1,
        };
        let lineage = serde_json::from_value(serde_json::json!({
            "id": crate::domain::id::DatasetId::new(), "name": "d", "version": 1, "sha256": "", "content_sha256": null,
        }));
        let measured = Measured {
            dataset: lineage.unwrap(),
            images: 20,
            architecture: Architecture::Resnet18,
            weights: "imagenet".to_owned(),
            image_size: 224,
            folds: 2,
        };
        let scores = vec![
            score(3, 1, 0.5),
            score(3, 2, 0.7),
            score(4, 1, 0.9),
            score(4, 2, 0.7),
        ];
        let found = CrossValidation::of(measured, scores);
        let close = |one: f64, other: f64| assert!((one - other).abs() < 1e-12, "{one} {other}");
        close(found.accuracy, 0.7);
        close(found.macro_f1, 0.35);
        close(found.loss, 0.3);
        assert_eq!(
            found.seeds.iter().map(|seed| seed.seed).collect::<Vec<_>>(),
            [3, 4]
        );
        close(found.seeds[0].accuracy, 0.6);
        close(found.seeds[1].accuracy, 0.8);
        let [low, high] = found.accuracy_interval;
        assert!(low < 0.7 && high > 0.7, "{low} {high}");
    }
}
