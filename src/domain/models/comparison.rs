//! Two models on the same images, by predictions that were stored before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    id::{DatasetId, JobId, ModelId},
    jobs::predictions::PredictionRow,
    metrics::{self, Pairs},
    name::Name,
};

/// Whether one model is more often right than another, on the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelComparison {
    /// Always `model_comparison`.
    #[schema(example = "model_comparison")]
    pub object: String,
    pub dataset: DatasetId,
    /// Of the dataset.
    pub version: u32,
    /// Labelled images that both models have classified.
    pub images: u64,
    /// Images that only one of them has classified, or could read, or that have no label. They are not compared.
    pub left_out: u64,
    pub first: ComparedModel,
    pub second: ComparedModel,
    /// By how much the second model's accuracy is higher, -1 to 1.
    pub difference: f64,
    /// Interval of the difference at 95 % confidence (Bonett and Price 2012).
    pub difference_interval: [f64; 2],
    /// McNemar's test, exact: the probability of right answers being shared out at least so unevenly if both were equally good, 0 to 1.
    pub p_value: f64,
    /// Images on which both are right, only the first, only the second, and neither.
    pub right: RightAnswers,
    /// Images that the two classify differently, in the order of their ids. At most 1000.
    pub differing: Vec<DifferingImage>,
    /// How many there are.
    pub differing_images: u64,
}

/// One of the two models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedModel {
    pub id: ModelId,
    pub name: Name,
    pub version: u32,
    /// The batch prediction whose rows are compared.
    pub job: JobId,
    /// Fraction of the images whose likeliest class is the right one, 0 to 1.
    pub accuracy: f64,
    /// Interval of the accuracy at 95 % confidence (Wilson 1927).
    pub accuracy_interval: [f64; 2],
}

/// Images by which of the models are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RightAnswers {
    pub both: u64,
    pub only_first: u64,
    pub only_second: u64,
    pub neither: u64,
}

/// An image that the two models classify differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DifferingImage {
    /// Id of the image in its dataset version.
    pub image: u32,
    /// As in the archive.
    pub path: String,
    /// The class in the dataset.
    pub class: String,
    /// The likeliest class by each model, with its probability.
    pub first: String,
    pub first_probability: f64,
    pub second: String,
    pub second_probability: f64,
}

/// A model and its answers.
pub struct Answers {
    pub id: ModelId,
    pub name: Name,
    pub version: u32,
    pub job: JobId,
    pub rows: Vec<PredictionRow>,
}

impl ModelComparison {
    /// How many differing images are listed at most.
    pub const MOST: usize = 1000;

    /// None where the two have no labelled image in common.
    pub fn of(dataset: DatasetId, version: u32, first: Answers, second: Answers) -> Option<Self> {
        let by_image: BTreeMap<u32, &PredictionRow> =
            second.rows.iter().map(|row| (row.image, row)).collect();
        let mut pairs = Pairs::default();
        let mut differing = Vec::new();
        let mut differing_images = 0;
        for row in &first.rows {
            let other = by_image.get(&row.image).copied();
            let Some((class, one, other)) = other.and_then(|other| answered(row, other)) else {
                continue;
            };
            pairs.count(one.0 == class, other.0 == class);
            if one.0 == other.0 {
                continue;
            }
            differing_images += 1;
            if differing.len() < Self::MOST {
                differing.push(DifferingImage {
                    image: row.image,
                    path: row.path.clone(),
                    class: class.to_owned(),
                    first: one.0.to_owned(),
                    first_probability: one.1,
                    second: other.0.to_owned(),
                    second_probability: other.1,
                });
            }
        }
        let images = pairs.images();
        if images == 0 {
            return None;
        }
        let either = first.rows.len() as u64 + second.rows.len() as u64
            - first
                .rows
                .iter()
                .filter(|row| by_image.contains_key(&row.image))
                .count() as u64;
        differing.sort_by_key(|differing| differing.image);
        let compared = |answers: &Answers, hits: u64| ComparedModel {
            id: answers.id,
            name: answers.name.clone(),
            version: answers.version,
            job: answers.job,
            accuracy: hits as f64 / images as f64,
            accuracy_interval: metrics::wilson_interval(hits, images),
        };
        Some(Self {
            object: "model_comparison".to_owned(),
            dataset,
            version,
            images,
            left_out: either - images,
            first: compared(&first, pairs.both + pairs.only_first),
            second: compared(&second, pairs.both + pairs.only_second),
            difference: pairs.difference(),
            difference_interval: pairs.difference_interval(),
            p_value: pairs.exact_mcnemar(),
            right: RightAnswers {
                both: pairs.both,
                only_first: pairs.only_first,
                only_second: pairs.only_second,
                neither: pairs.neither,
            },
            differing,
            differing_images,
        })
    }
}

/// The likeliest class of an image, and its probability.
type Answer<'a> = (&'a str, f64);

/// The class of an image, and what both models say of it.
fn answered<'a>(
    one: &'a PredictionRow,
    other: &'a PredictionRow,
) -> Option<(&'a str, Answer<'a>, Answer<'a>)> {
    let likeliest = |row: &'a PredictionRow| {
        let first = row.predictions.as_ref()?.first()?;
        Some((first.label.as_str(), first.probability))
    };
    Some((one.label.as_deref()?, likeliest(one)?, likeliest(other)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{datasets::split::Split, models::prediction::ClassProbability};

    fn row(image: u32, class: Option<&str>, predicted: Option<&str>) -> PredictionRow {
        let probability = |label: &str| ClassProbability {
            label: label.to_owned(),
            index: 0,
            probability: 0.75,
            predicted: None,
        };
        PredictionRow {
            image,
            path: format!("{image}.png"),
            split: Split::Train,
            label: class.map(str::to_owned),
            labels: None,
            predictions: predicted.map(|label| vec![probability(label)]),
            error: None,
        }
    }

    fn answers(name: &str, rows: Vec<PredictionRow>) -> Answers {
        Answers {
            id: ModelId::new(),
            name: Name::parse(name).unwrap(),
            version: 1,
            job: JobId::new(),
            rows,
        }
    }

    #[test]
    fn only_images_that_both_have_classified_are_compared() {
        let (a, b) = (Some("a"), Some("b"));
        let first = vec![
            row(1, a, a),
            row(2, a, b),
            row(3, b, b),
            row(4, b, None),
            row(5, None, a),
            row(6, b, a),
            row(7, a, a),
        ];
        let second = vec![
            row(1, a, a),
            row(2, a, a),
            row(3, b, a),
            row(4, b, b),
            row(5, None, a),
            row(6, b, a),
            row(8, a, a),
        ];
        let found =
            ModelComparison::of(DatasetId::new(), 3, answers("one", first), answers("two", second)).unwrap();
        assert_eq!((found.images, found.left_out, found.version), (4, 4, 3));
        let expected = RightAnswers {
            both: 1,
            only_first: 1,
            only_second: 1,
            neither: 1,
        };
        assert_eq!(found.right, expected);
        assert_eq!((found.first.accuracy, found.second.accuracy), (0.5, 0.5));
        assert_eq!((found.difference, found.p_value), (0.0, 1.0));
        let differing: Vec<_> = found
            .differing
            .iter()
            .map(|one| {
                (
                    one.image,
                    one.class.as_str(),
                    one.first.as_str(),
                    one.second.as_str(),
                )
            })
            .collect();
        assert_eq!(differing, [(2, "a", "b", "a"), (3, "b", "b", "a")]);
        assert_eq!(found.differing_images, 2);
    }

    #[test]
    fn without_a_labelled_image_in_common_there_is_nothing_to_say() {
        let first = answers("one", vec![row(1, Some("a"), Some("a")), row(2, None, Some("a"))]);
        let second = answers("two", vec![row(2, None, Some("a")), row(3, Some("a"), Some("a"))]);
        assert_eq!(ModelComparison::of(DatasetId::new(), 1, first, second), None);
    }
}
