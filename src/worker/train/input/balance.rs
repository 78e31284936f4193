//! Handling of class imbalance, as pure functions.

use crate::domain::random::{Draws, Stream};

/// The weight of an image of each class: images / (classes × images of the class), over the classes that occur (as scikit-learn's
/// `compute_class_weight("balanced")`). 1 for a class without images.
pub fn class_weights(classes: &[u32], count: usize) -> Vec<f64> {
    let mut images = vec![0u64; count];
    for class in classes {
        images[*class as usize] += 1;
    }
    let shown = images.iter().filter(|images| **images > 0).count();
    let weight = |images: u64| match images {
        0 => 1.0,
        images => classes.len() as f64 / (shown as f64 * images as f64),
    };
    images.into_iter().map(weight).collect()
}

/// An epoch as long as the training set, as indices into `classes`, in which the counts of any two classes differ by at most one. Images of
/// a class with too few are repeated, each as often as any other of its class, give or take one.
pub fn balanced_order(classes: &[u32], seed: u64, epoch: u32) -> Vec<usize> {
    let count = classes.iter().max().map_or(0, |highest| *highest as usize + 1);
    let mut members = vec![Vec::new(); count];
    for (place, class) in classes.iter().enumerate() {
        members[*class as usize].push(place);
    }
    members.retain(|places| !places.is_empty());
    let draws = |index| Draws::at(seed, Stream::BalancedSampler, u64::from(epoch), index);
    // Which classes get one image more than others changes from epoch to epoch.
    draws(0).shuffle(&mut members);
    let mut order = Vec::with_capacity(classes.len());
    for (index, places) in members.iter().enumerate() {
        let wanted = classes.len() / members.len() + usize::from(index < classes.len() % members.len());
        let mut draws = draws(1 + places[0] as u64);
        let mut round = Vec::new();
        for _ in 0..wanted {
            if round.is_empty() {
                round.clone_from(places);
                draws.shuffle(&mut round);
            }
            order.extend(round.pop());
        }
    }
    draws(u64::MAX).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_scikit_learn() {
        // compute_class_weight("balanced", classes=[0, 1, 3], y=[0, 0, 0, 0, 1, 1, 3, 3, 3]) = [0.75, 1.5, 1.0]
        let weights = class_weights(&[0, 0, 0, 0, 1, 1, 3, 3, 3], 4);
        assert_eq!(weights, [0.75, 1.5, 1.0, 1.0]);
    }

    #[test]
    fn an_epoch_shows_every_class_equally_often() {
        let classes: Vec<u32> = [vec![0; 70], vec![2; 25], vec![1; 6]].concat();
        for epoch in 1..4 {
            let order = balanced_order(&classes, 3, epoch);
            assert_eq!(order.len(), 101);
            let mut shown = vec![0u32; classes.len()];
            order.iter().for_each(|place| shown[*place] += 1);
            for (range, most) in [(0..70, 1), (70..95, 2), (95..101, 6)] {
                let total: u32 = shown[range.clone()].iter().sum();
                assert!((33..=34).contains(&total), "{total}");
                let (low, high) = (shown[range.clone()].iter().min(), shown[range].iter().max());
                assert!(high.unwrap() - low.unwrap() <= 1 && *high.unwrap() <= most);
            }
            assert_eq!(order, balanced_order(&classes, 3, epoch));
            assert_ne!(order, balanced_order(&classes, 3, epoch + 1));
            assert_ne!(order, balanced_order(&classes, 4, epoch));
        }
    }
}
