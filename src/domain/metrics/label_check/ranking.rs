//! All doubtful images in one list.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    confident::{ConfidentJoint, Judgements},
    unusual::Neighbours,
};

/// Why an image is doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DoubtReason {
    /// What the other images teach contradicts its label (Northcutt, Jiang and Chuang 2021).
    Label,
    /// Nearly the same image has another label: at least one of the two is wrong.
    Duplicate,
    /// It is unlike all other images.
    Outlier,
    /// Another class is likelier than its own, but not so much that its label would be wrong by the rates of confident learning.
    Unsure,
}

/// A doubtful image, by its place among the images.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    pub image: usize,
    pub reason: DoubtReason,
    /// The likeliest class, which may be the given one.
    pub suggested: usize,
    /// Its probability.
    pub confidence: f64,
    /// See [`Judgements::quality`].
    pub quality: f64,
    /// Mean distance of its neighbours.
    pub distance: f64,
    /// Images of other labels that are nearly the same, the most alike first.
    pub duplicates: Vec<usize>,
}

/// Each doubtful image once: first those with a doubtful label, the most doubtful first, then those that are nearly the same as an image of
/// another label, the most alike first, then outliers, the farthest first, and last those that just look more like another class.
pub fn ranked(judgements: &Judgements, joint: &ConfidentJoint, neighbours: &Neighbours) -> Vec<Suspect> {
    let duplicates = neighbours.duplicates(judgements.labels());
    let outliers = neighbours.outliers();
    let labels = joint.issues.iter().map(|&image| (image, DoubtReason::Label));
    let twins = duplicates
        .iter()
        .map(|(image, _)| (*image, DoubtReason::Duplicate));
    let far = outliers.into_iter().map(|image| (image, DoubtReason::Outlier));
    let twins_of: BTreeMap<usize, &Vec<usize>> = duplicates
        .iter()
        .map(|(image, places)| (*image, places))
        .collect();
    let unsure = joint.unsure.iter().map(|&image| (image, DoubtReason::Unsure));
    let mut listed = BTreeSet::new();
    let all = labels.chain(twins).chain(far).chain(unsure);
    let once = all.filter(|(image, _)| listed.insert(*image));
    once.map(|(image, reason)| {
        let suggested = judgements.likeliest(image);
        Suspect {
            image,
            reason,
            suggested,
            confidence: judgements.row(image)[suggested],
            quality: judgements.quality(image),
            distance: neighbours.mean_distance(image),
            duplicates: twins_of
                .get(&image)
                .map_or_else(Vec::new, |places| (*places).clone()),
        }
    })
    .collect()
}
