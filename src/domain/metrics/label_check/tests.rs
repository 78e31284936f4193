//! Held to what cleanlab and scikit-learn computed (`scripts/metrics` makes the golden file), and to what can be said without them.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Golden {
    confident: Vec<Confident>,
    features: Vec<Distances>,
}

/// Probabilities, and what cleanlab makes of them.
#[derive(Deserialize)]
struct Confident {
    name: String,
    probabilities: Vec<Vec<f64>>,
    labels: Vec<u32>,
    thresholds: Vec<f64>,
    joint: Vec<Vec<u64>>,
    issues: Vec<usize>,
    unsure: Vec<usize>,
    quality: Vec<f64>,
}

/// The nearest neighbours by scikit-learn.
#[derive(Deserialize)]
struct Distances {
    name: String,
    labels: Vec<u32>,
    places: Vec<Vec<usize>>,
    distances: Vec<Vec<f64>>,
    mean_distance: Vec<f64>,
    outliers: Vec<usize>,
    duplicates: Vec<(usize, Vec<usize>)>,
}

fn golden() -> Golden {
    let text = include_str!("../../../../tests/golden/label_check.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    assert!(golden.confident.len() >= 4 && golden.features.len() >= 3);
    golden
}

#[track_caller]
fn same(name: &str, what: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() < 1e-9, "{name}: {what}: {ours} {theirs}");
}

fn judged(rows: &[&[f64]], labels: &[u32]) -> Judgements {
    Judgements::new(rows[0].len(), rows.concat(), labels.to_vec()).unwrap()
}

#[test]
fn doubtful_labels_are_cleanlabs() {
    let mut issues = 0;
    for case in golden().confident {
        let name = case.name.as_str();
        let rows: Vec<&[f64]> = case.probabilities.iter().map(Vec::as_slice).collect();
        let judgements = judged(&rows, &case.labels);
        let joint = ConfidentJoint::of(&judgements);
        for (class, threshold) in joint.thresholds.iter().enumerate() {
            same(name, "threshold", threshold.unwrap(), case.thresholds[class]);
        }
        assert_eq!(joint.counts, case.joint, "{name}");
        for (image, theirs) in case.quality.iter().enumerate() {
            same(name, "quality", judgements.quality(image), *theirs);
        }
        assert_eq!(joint.issues, case.issues, "{name}");
        assert_eq!(joint.unsure, case.unsure, "{name}");
        issues += joint.issues.len();
    }
    assert!(issues > 10, "the cases have hardly any wrong labels");
}

#[test]
fn outliers_and_duplicates_are_where_the_definitions_say() {
    let (mut outliers, mut duplicates) = (0, 0);
    for case in golden().features {
        let name = case.name.as_str();
        let count = case.places[0].len();
        let neighbours = Neighbours::new(count, case.places.concat(), case.distances.concat()).unwrap();
        for (image, theirs) in case.mean_distance.iter().enumerate() {
            same(name, "mean distance", neighbours.mean_distance(image), *theirs);
        }
        assert_eq!(neighbours.outliers(), case.outliers, "{name}");
        // Those of a pair are equally far from each other but for rounding.
        let mut found = neighbours.duplicates(&case.labels);
        found.sort();
        assert_eq!(found, case.duplicates, "{name}");
        outliers += case.outliers.len();
        duplicates += case.duplicates.len();
    }
    assert!(outliers > 0 && duplicates > 0);
}

#[test]
fn a_class_without_images_is_nobodys_suggestion() {
    let judgements = judged(
        &[&[0.1, 0.2, 0.7], &[0.8, 0.1, 0.1], &[0.2, 0.7, 0.1]],
        &[0, 0, 1],
    );
    let joint = ConfidentJoint::of(&judgements);
    assert_eq!(joint.thresholds[2], None);
    assert_eq!(joint.counts, [[1, 0, 0], [0, 1, 0], [0, 0, 0]]);
    assert!(joint.issues.is_empty());
}

#[test]
fn each_image_is_listed_once_with_its_first_reason() {
    // Images 0 and 3 are the same under different labels; 0 is the wrong one. Image 5 is far away from everything.
    let judgements = judged(
        &[
            &[0.05, 0.95],
            &[0.9, 0.1],
            &[0.8, 0.2],
            &[0.1, 0.9],
            &[0.2, 0.8],
            &[0.3, 0.7],
        ],
        &[0, 0, 0, 1, 1, 1],
    );
    let joint = ConfidentJoint::of(&judgements);
    assert_eq!(joint.issues, [0]);
    let places = vec![3, 2, 1, 0, 3, 4];
    let distances = vec![1e-9, 0.2, 0.21, 1e-9, 0.22, 0.9];
    let neighbours = Neighbours::new(1, places, distances).unwrap();
    let listed: Vec<_> = ranked(&judgements, &joint, &neighbours)
        .into_iter()
        .map(|suspect| {
            (
                suspect.image,
                suspect.reason,
                suspect.suggested,
                suspect.duplicates,
            )
        })
        .collect();
    let expected = [
        (0, DoubtReason::Label, 1, vec![3]),
        (3, DoubtReason::Duplicate, 1, vec![0]),
        (5, DoubtReason::Outlier, 1, vec![]),
    ];
    assert_eq!(listed, expected);
}

#[test]
fn numbers_that_are_none_are_refused() {
    assert!(Judgements::new(2, vec![0.5; 3], vec![0]).is_err());
    assert!(Judgements::new(2, vec![0.5; 2], vec![2]).is_err());
    assert!(Judgements::new(2, vec![f64::NAN, 0.5], vec![0]).is_err());
    assert!(Judgements::new(1, vec![1.0], vec![0]).is_err());
    assert!(Neighbours::new(2, vec![0], vec![0.0]).is_err());
    assert!(Neighbours::new(1, vec![0], vec![f64::NAN]).is_err());
}
