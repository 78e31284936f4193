//! What is done about classes with few pictures, as pure functions.

use crate::domain::random::{Draws, Stream};

/// What a picture of each class counts: pictures / (classes × pictures of the class), over the classes that there are pictures of (as
/// scikit-learn's `compute_class_weight("balanced")`). 1 for a class without pictures.
pub fn class_weights(classes: &[u32], count: usize) -> Vec<f64> {
    let mut pictures = vec![0u64; count];
    for class in classes {
        pictures[*class as usize] += 1;
    }
    let shown = pictures.iter().filter(|pictures| **pictures > 0).count();
    let weight = |pictures: u64| match pictures {
        0 => 1.0,
        pictures => classes.len() as f64 / (shown as f64 * pictures as f64),
    };
    pictures.into_iter().map(weight).collect()
}

/// An epoch of as many pictures as there are, as places in `classes`, in which the numbers of pictures of any two classes differ by at
/// most one. A class whose pictures do not suffice shows them again, each as often as any other of it, give or take one.
pub fn balanced_order(classes: &[u32], seed: u64, epoch: u32) -> Vec<usize> {
    let count = classes.iter().max().map_or(0, |highest| *highest as usize + 1);
    let mut members = vec![Vec::new(); count];
    for (place, class) in classes.iter().enumerate() {
        members[*class as usize].push(place);
    }
    members.retain(|places| !places.is_empty());
    let draws = |index| Draws::at(seed, Stream::BalancedSampler, u64::from(epoch), index);
    // Which classes come once more than others changes from epoch to epoch.
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
