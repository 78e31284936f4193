//! The result of a label check: `label_check.json`, as the worker writes it and the API returns it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    architecture::Architecture,
    metrics::label_check::{ConfidentJoint, DoubtReason, Judgements, Suspect},
    models::model::DatasetLineage,
};

/// Images whose labels are doubtful, the most doubtful first, and what that was found by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LabelCheck {
    /// Always `label_check`.
    #[schema(example = "label_check")]
    pub object: String,
    /// The version that was checked.
    pub dataset: DatasetLineage,
    /// Images that were checked: all of the version.
    pub images: u64,
    pub architecture: Architecture,
    /// The base weights.
    pub weights: String,
    /// Side of the images, in pixels.
    pub image_size: u32,
    pub folds: u32,
    /// Penalty of the heads: of several the one with the lowest out-of-fold cross entropy.
    pub l2: f64,
    /// Fraction of images whose likeliest class, by a head that has not seen them, is the given one, 0 to 1.
    pub agreement: f64,
    pub classes: Vec<CheckedClass>,
    /// Counts of images: a row for each given class, a column for each class that they confidently look like, in the order of `classes`
    /// (Northcutt, Jiang and Chuang 2021, equation 1). Images that look like none confidently are not counted.
    pub confident_joint: Vec<Vec<u64>>,
    /// How many images each reason concerns; an image counts once.
    pub found: DoubtCounts,
    /// These images, ranked: first those with a doubtful label, then those that are nearly the same as an image of another label, then
    /// outliers, and last those that just look more like another class. At most 10000.
    pub listed: Vec<DoubtfulImage>,
}

/// A class of the dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckedClass {
    pub name: String,
    /// Images that are labelled as it.
    pub images: u64,
    /// Mean probability that these have of being it: from this on an image looks like one confidently. Null without images.
    pub threshold: Option<f64>,
}

/// Doubtful images by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoubtCounts {
    pub label: u64,
    pub duplicate: u64,
    pub outlier: u64,
    pub unsure: u64,
}

/// An image whose label is doubtful.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DoubtfulImage {
    /// Id of the image in its dataset version.
    pub image: u32,
    /// As in the archive.
    pub path: String,
    pub reason: DoubtReason,
    /// The class that it is labelled with.
    pub given: String,
    /// The class that it looks like most; for duplicates and outliers this may be the given one.
    pub suggested: String,
    /// Probability of the suggested class, by a head that has not seen the image, 0 to 1.
    pub confidence: f64,
    /// How much it looks like its given class, 0 to 1: the normalised margin. Below 0.5 another class is likelier.
    pub quality: f64,
    /// Mean cosine distance of the features of its 10 nearest images, 0 to 2.
    pub distance: f64,
    /// Ids of images of other classes that are nearly the same, the most alike first.
    pub duplicates: Vec<u32>,
}

/// What was checked, besides the numbers.
pub struct Checked<'a> {
    pub dataset: DatasetLineage,
    /// Names of the dataset's classes, in their order.
    pub classes: &'a [String],
    pub architecture: Architecture,
    pub weights: String,
    pub image_size: u32,
    pub folds: u32,
    pub l2: f64,
}

impl LabelCheck {
    /// How many images are listed at most.
    pub const MOST: usize = 10_000;

    /// `image` gives the id and the path of the image at a place.
    pub fn of<'i>(
        checked: Checked,
        judgements: &Judgements,
        joint: &ConfidentJoint,
        suspects: &[Suspect],
        image: impl Fn(usize) -> (u32, &'i str),
    ) -> Self {
        let mut found = DoubtCounts::default();
        for suspect in suspects {
            match suspect.reason {
                DoubtReason::Label => found.label += 1,
                DoubtReason::Duplicate => found.duplicate += 1,
                DoubtReason::Outlier => found.outlier += 1,
                DoubtReason::Unsure => found.unsure += 1,
            }
        }
        let listed = suspects.iter().take(Self::MOST).map(|suspect| {
            let (id, path) = image(suspect.image);
            DoubtfulImage {
                image: id,
                path: path.to_owned(),
                reason: suspect.reason,
                given: checked.classes[judgements.given(suspect.image)].clone(),
                suggested: checked.classes[suspect.suggested].clone(),
                confidence: suspect.confidence,
                quality: suspect.quality,
                distance: suspect.distance,
                duplicates: suspect.duplicates.iter().map(|&place| image(place).0).collect(),
            }
        });
        let class = |(index, name): (usize, &String)| CheckedClass {
            name: name.clone(),
            images: of_class(judgements, index),
            threshold: joint.thresholds[index],
        };
        Self {
            object: "label_check".to_owned(),
            images: judgements.labels().len() as u64,
            listed: listed.collect(),
            classes: checked.classes.iter().enumerate().map(class).collect(),
            dataset: checked.dataset,
            architecture: checked.architecture,
            weights: checked.weights,
            image_size: checked.image_size,
            folds: checked.folds,
            l2: checked.l2,
            agreement: judgements.agreement(),
            confident_joint: joint.counts.clone(),
            found,
        }
    }

    /// The class that an image looks like most, if the image is listed.
    pub fn suggestion(&self, image: u32) -> Option<&str> {
        let listed = self.listed.iter().find(|listed| listed.image == image);
        listed.map(|listed| listed.suggested.as_str())
    }
}

fn of_class(judgements: &Judgements, class: usize) -> u64 {
    let labels = judgements.labels().iter();
    labels.filter(|label| **label as usize == class).count() as u64
}
