//! Folds for cross-validation: stratified, with groups kept together.

use std::cmp::{Ordering, Reverse};

use crate::domain::random::{Draws, Stream};

/// A class that is too small to be in every fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassTooSmall {
    pub class: u32,
    /// How many parts of it can be separated.
    pub groups: u32,
}

/// Assigns each image its fold, from 0 to `count` - 1: `labels[i]` is the class of image `i`, `groups[i]` its group (see
/// [`super::groups`]), and all images of a group are in one fold. `count` is at least 1.
///
/// Where every image is a group of its own, the folds' numbers of images of a class differ by at most one. Otherwise groups are placed in an
/// order shuffled by the seed, those of several classes first and large ones before small ones, each into the fold that has the smallest
/// share of its classes (after Sechidis et al. 2011, iterative stratification).
///
/// # Errors
/// A class with fewer groups than folds, or one that could not be separated: the smallest such class.
pub fn folds(labels: &[u32], groups: &[u32], count: u32, seed: u64) -> Result<Vec<u32>, ClassTooSmall> {
    let classes = labels.iter().max().map_or(0, |&last| last as usize + 1);
    let mut total = vec![0; classes];
    labels.iter().for_each(|&label| total[label as usize] += 1);
    let groups = ordered(labels, groups, seed);
    let too_small = |parts: &[u32], wanted: u32| {
        let small = (0..classes).filter(|&class| total[class] > 0 && parts[class] < wanted);
        small
            .min_by_key(|&class| parts[class])
            .map(|class| ClassTooSmall {
                class: class as u32,
                groups: parts[class],
            })
    };
    let mut parts = vec![0; classes];
    for group in &groups {
        group.counts.iter().for_each(|&(class, _)| parts[class] += 1);
    }
    if let Some(fault) = too_small(&parts, count) {
        return Err(fault);
    }
    let mut fold_of = vec![0; labels.len()];
    let mut given = vec![Given::none(classes); count as usize];
    for group in &groups {
        let fold = (0..given.len()).min_by(|&one, &other| given[one].compare(&given[other], group, &total));
        let fold = fold.unwrap_or_default();
        given[fold].add(group);
        group
            .images
            .iter()
            .for_each(|&image| fold_of[image] = fold as u32);
    }
    // A class in one fold only would be unknown to the head that judges it.
    let spread: Vec<u32> = (0..classes)
        .map(|class| given.iter().filter(|fold| fold.of_class[class] > 0).count() as u32)
        .collect();
    match too_small(&spread, count.min(2)) {
        Some(fault) => Err(fault),
        None => Ok(fold_of),
    }
}

struct Group {
    images: Vec<usize>,
    /// Its images by class; only classes that occur in it.
    counts: Vec<(usize, usize)>,
}

/// What a fold has so far.
#[derive(Clone)]
struct Given {
    of_class: Vec<usize>,
    images: usize,
}

impl Given {
    fn none(classes: usize) -> Self {
        Self {
            of_class: vec![0; classes],
            images: 0,
        }
    }

    fn add(&mut self, group: &Group) {
        for &(class, images) in &group.counts {
            self.of_class[class] += images;
        }
        self.images += group.images.len();
    }

    /// Which of two folds needs this group more; the smaller one where both need it alike.
    fn compare(&self, other: &Self, group: &Group, total: &[usize]) -> Ordering {
        let has = |fold: &Self| -> f64 {
            let share = |&(class, images): &(usize, usize)| {
                images as f64 * fold.of_class[class] as f64 / total[class] as f64
            };
            group.counts.iter().map(share).sum()
        };
        has(self)
            .total_cmp(&has(other))
            .then(self.images.cmp(&other.images))
    }
}

/// The groups in the order in which they are placed.
fn ordered(labels: &[u32], group_of: &[u32], seed: u64) -> Vec<Group> {
    let count = group_of.iter().max().map_or(0, |&last| last as usize + 1);
    let mut members = vec![Vec::new(); count];
    for (image, &group) in group_of.iter().enumerate() {
        members[group as usize].push(image);
    }
    members.retain(|images| !images.is_empty());
    Draws::at(seed, Stream::Folds, 0, 0).shuffle(&mut members);
    let mut groups: Vec<Group> = members
        .into_iter()
        .map(|images| Group {
            counts: counts(&images, labels),
            images,
        })
        .collect();
    groups.sort_by_key(|group| (group.counts.len() == 1, Reverse(group.images.len())));
    groups
}

fn counts(images: &[usize], labels: &[u32]) -> Vec<(usize, usize)> {
    let mut classes: Vec<usize> = images.iter().map(|&image| labels[image] as usize).collect();
    classes.sort_unstable();
    let runs = classes.chunk_by(|one, other| one == other);
    runs.map(|run| (run[0], run.len())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn alone(images: usize) -> Vec<u32> {
        (0..images as u32).collect()
    }

    fn count_of(folds: &[u32], labels: &[u32], fold: u32, class: u32) -> usize {
        let both = folds.iter().zip(labels);
        both.filter(|pair| pair == &(&fold, &class)).count()
    }

    #[test]
    fn each_seed_divides_in_another_way() {
        let labels: Vec<u32> = (0..60).map(|image| image % 3).collect();
        let divided = |seed| folds(&labels, &alone(60), 5, seed).unwrap();
        assert_eq!(divided(4), divided(4));
        assert_ne!(divided(4), divided(5));
    }

    #[test]
    fn a_class_with_fewer_parts_than_folds_is_named() {
        let labels = [0, 0, 0, 0, 0, 0, 2, 2, 2, 2];
        let fault = |class, groups| Err(ClassTooSmall { class, groups });
        assert_eq!(folds(&labels, &alone(10), 5, 0), fault(2, 4));
        assert!(folds(&labels, &alone(10), 4, 0).is_ok());
        // Two of the four belong together.
        let groups = [0, 1, 2, 3, 4, 5, 6, 6, 7, 8];
        assert_eq!(folds(&labels, &groups, 4, 0), fault(2, 3));
        assert!(folds(&labels, &groups, 3, 0).is_ok());
    }

    #[test]
    fn groups_of_several_classes_are_spread() {
        // Twelve films, each with two images of each of two classes.
        let labels: Vec<u32> = (0..48).map(|image| image % 2).collect();
        let groups: Vec<u32> = (0..48).map(|image| image / 4).collect();
        for seed in 0..20 {
            let folds = folds(&labels, &groups, 4, seed).unwrap();
            for fold in 0..4 {
                assert_eq!(count_of(&folds, &labels, fold, 0), 6, "seed {seed}");
                assert_eq!(count_of(&folds, &labels, fold, 1), 6, "seed {seed}");
            }
        }
    }

    proptest! {
        #[test]
        fn images_on_their_own_are_spread_exactly(
            labels in prop::collection::vec(0u32..4, 1..200),
            count in 2u32..8,
            seed in any::<u64>(),
        ) {
            let total = |class: u32| labels.iter().filter(|label| **label == class).count();
            match folds(&labels, &alone(labels.len()), count, seed) {
                Err(fault) => prop_assert!(total(fault.class) < count as usize && total(fault.class) > 0),
                Ok(folds) => {
                    for class in 0..4 {
                        for fold in 0..count {
                            let own = count_of(&folds, &labels, fold, class);
                            let least = total(class) / count as usize;
                            prop_assert!(own == least || own == least + 1);
                        }
                    }
                }
            }
        }

        #[test]
        fn no_group_is_torn_and_no_class_is_in_one_fold_only(
            images in prop::collection::vec((0u32..4, 0u32..40), 1..200),
            count in 2u32..8,
            seed in any::<u64>(),
        ) {
            let (labels, groups): (Vec<u32>, Vec<u32>) = images.into_iter().unzip();
            if let Ok(folds) = folds(&labels, &groups, count, seed) {
                let mut fold_of = HashMap::new();
                for (group, fold) in groups.iter().zip(&folds) {
                    prop_assert_eq!(*fold_of.entry(group).or_insert(fold), fold);
                }
                for class in &labels {
                    let with = (0..count).filter(|fold| count_of(&folds, &labels, *fold, *class) > 0);
                    prop_assert!(with.count() >= 2);
                }
            }
        }
    }
}
