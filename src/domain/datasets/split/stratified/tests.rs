use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn of_class(parts: &[Split], labels: &[u32], class: u32, part: Split) -> usize {
    let each = parts.iter().zip(labels);
    each.filter(|(p, l)| **p == part && **l == class).count()
}

fn alone(images: usize) -> Vec<u32> {
    (0..images as u32).collect()
}

fn shares(val: f64, test: f64) -> Shares {
    Shares { val, test }
}

#[test]
fn every_class_gives_its_share() {
    let labels: Vec<u32> = (0..150).map(|i| u32::from(i >= 100)).collect();
    let parts = stratified(&labels, &alone(150), shares(0.2, 0.1), 3);
    assert_eq!(of_class(&parts, &labels, 0, Split::Val), 20);
    assert_eq!(of_class(&parts, &labels, 0, Split::Test), 10);
    assert_eq!(of_class(&parts, &labels, 1, Split::Val), 10);
    assert_eq!(of_class(&parts, &labels, 1, Split::Test), 5);
}

#[test]
fn the_seed_decides_and_a_lone_image_trains() {
    let labels = [vec![0; 50], vec![1]].concat();
    let parts = |seed| stratified(&labels, &alone(51), shares(0.5, 0.0), seed);
    assert_eq!(parts(1), parts(1));
    assert_ne!(parts(1), parts(2));
    assert_eq!(parts(1)[50], Split::Train);
}

/// What was drawn before groups existed is drawn still: models remember their division by its seed alone.
#[test]
fn without_groups_the_draws_are_those_of_ever() {
    let labels: Vec<u32> = (0..20).map(|image| image % 2).collect();
    let parts = stratified(&labels, &alone(20), shares(0.2, 0.1), 7);
    let mut expected = vec![Split::Train; 20];
    for class in 0..2 {
        let mut images: Vec<usize> = (0..20).filter(|image| image % 2 == class).collect();
        Draws::at(7, Stream::Split, 0, class as u64).shuffle(&mut images);
        expected[images[0]] = Split::Val;
        expected[images[1]] = Split::Val;
        expected[images[2]] = Split::Test;
    }
    assert_eq!(parts, expected);
}

#[test]
fn counts_are_exact_where_small_groups_can_fill_them() {
    // Ten patients with seven images each, and thirty with one.
    let groups: Vec<u32> = (0..100)
        .map(|image| if image < 70 { image / 7 } else { image })
        .collect();
    let labels = vec![0; 100];
    for seed in 0..20 {
        let parts = stratified(&labels, &groups, shares(0.2, 0.13), seed);
        let count = |part| of_class(&parts, &labels, 0, part);
        assert_eq!((count(Split::Val), count(Split::Test)), (20, 13), "seed {seed}");
    }
}

#[test]
fn two_large_groups_are_enough_to_validate_on() {
    let groups: Vec<u32> = (0..100).map(|image| image / 50).collect();
    let parts = stratified(&[0; 100], &groups, shares(0.2, 0.0), 0);
    assert_eq!(parts.iter().filter(|part| **part == Split::Val).count(), 50);
    let parts = stratified(&[0; 100], &[0; 100], shares(0.2, 0.2), 0);
    assert!(
        parts.iter().all(|part| *part == Split::Train),
        "one group cannot be divided"
    );
}

#[test]
fn groups_of_several_classes_are_balanced_over_them() {
    // Sixty patients, each with four images of one class and two of the other.
    let groups: Vec<u32> = (0..360).map(|image| image / 6).collect();
    let labels: Vec<u32> = (0..360u32)
        .map(|image| (image / 6 + u32::from(image % 6 < 4)) % 2)
        .collect();
    for seed in 0..10 {
        let parts = stratified(&labels, &groups, shares(0.25, 0.0), seed);
        for class in 0..2 {
            let val = of_class(&parts, &labels, class, Split::Val);
            assert!(val.abs_diff(45) <= 3, "seed {seed}, class {class}: {val}");
        }
    }
}

proptest! {
    #[test]
    fn no_group_is_torn_and_every_class_trains(
        images in prop::collection::vec((0u32..4, 0u32..40), 1..200),
        val in 0.0..0.6,
        test in 0.0..0.3,
        seed in any::<u64>(),
    ) {
        let (labels, groups): (Vec<u32>, Vec<u32>) = images.into_iter().unzip();
        let parts = stratified(&labels, &groups, shares(val, test), seed);
        prop_assert_eq!(parts.len(), labels.len());
        let mut part_of = HashMap::new();
        for (group, part) in groups.iter().zip(&parts) {
            prop_assert_eq!(*part_of.entry(group).or_insert(part), part);
        }
        for class in &labels {
            prop_assert!(of_class(&parts, &labels, *class, Split::Train) > 0);
        }
    }

    #[test]
    fn images_on_their_own_are_divided_exactly(
        labels in prop::collection::vec(0u32..5, 1..200),
        val in 0.0..0.6,
        test in 0.0..0.3,
        seed in any::<u64>(),
    ) {
        let parts = stratified(&labels, &alone(labels.len()), shares(val, test), seed);
        for class in &labels {
            let total = labels.iter().filter(|label| *label == class).count();
            let wanted_val = ((total as f64 * val).round() as usize).min(total - 1);
            let wanted_test = ((total as f64 * test).round() as usize).min(total - 1 - wanted_val);
            prop_assert_eq!(of_class(&parts, &labels, *class, Split::Val), wanted_val);
            prop_assert_eq!(of_class(&parts, &labels, *class, Split::Test), wanted_test);
        }
    }
}
