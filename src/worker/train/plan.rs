//! The order of training: order, steps, batches, views and mixes as pure functions of seed and epoch.
//!
//! Nothing here depends on what ran before, so that a resumed run sees exactly what an uninterrupted one would have seen.

use std::ops::Range;

use super::input::balance;
use crate::{
    domain::{
        random::{Draws, Stream},
        spec::{Imbalance, JobSpec},
    },
    worker::augment::{Mixes, View, Views},
};

/// The plan of a run. Epochs count from 1, steps of an epoch from 0.
#[derive(Clone, Debug)]
pub struct Plan {
    pub epochs: u32,
    /// Training images.
    pub images: usize,
    /// Images in a forward pass.
    pub batch_size: usize,
    /// Images in a step.
    step_size: usize,
    /// The view of each image in each epoch.
    pub views: Views,
    /// Which images of a batch are mixed.
    pub mixes: Mixes,
    seed: u64,
    /// The class of each training image, if epochs should show all classes equally often.
    balanced: Option<Vec<u32>>,
    /// The first epoch with images of another dataset, if there are any.
    unlabelled_from: Option<u32>,
    /// Whether teachers say what the images are.
    pub is_taught: bool,
    /// Whether each image is seen twice in a step, in two views.
    pub has_two_views: bool,
}

impl Plan {
    /// `classes` is the class of each training image.
    pub fn new(spec: &JobSpec, classes: Vec<u32>) -> Self {
        Self {
            epochs: spec.epochs,
            images: classes.len(),
            batch_size: spec.batch_size as usize,
            step_size: spec.batch_size as usize * spec.gradient_accumulation_steps as usize,
            views: Views::new(&spec.augment, spec.seed),
            mixes: Mixes::new(&spec.augment, spec.seed),
            seed: spec.seed,
            balanced: (spec.loss.imbalance == Imbalance::BalancedSampler).then_some(classes),
            unlabelled_from: spec.unlabelled_from(),
            is_taught: spec.distill.is_some(),
            has_two_views: false,
        }
    }

    /// The same in which each image is seen twice in a step, or not.
    pub fn with_two_views(self, has_two_views: bool) -> Self {
        Self {
            has_two_views,
            ..self
        }
    }

    /// The last step of an epoch takes the remaining images; a single remaining image joins the step before it.
    pub fn steps_per_epoch(&self) -> usize {
        parts(0..self.images, self.step_size).count()
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.steps_per_epoch() as u64 * u64::from(self.epochs)
    }

    /// Indices of the training images in the order in which an epoch uses them.
    pub fn order(&self, epoch: u32) -> Vec<usize> {
        if let Some(classes) = &self.balanced {
            return balance::balanced_order(classes, self.seed, epoch);
        }
        let mut order: Vec<usize> = (0..self.images).collect();
        Draws::at(self.seed, Stream::Shuffle, u64::from(epoch), 0).shuffle(&mut order);
        order
    }

    /// The first view, or the second (from 0), that an image has in this epoch. Those of all epochs are different draws.
    pub fn view(&self, epoch: u32, view: u32, id: u32) -> View {
        match self.has_two_views {
            true => self.views.at(2 * epoch + view, id),
            false => self.views.at(epoch, id),
        }
    }

    /// Whether images of another dataset go along in this epoch.
    pub fn has_unlabelled_in(&self, epoch: u32) -> bool {
        self.unlabelled_from.is_some_and(|first| epoch >= first)
    }

    /// Images that go along with others, from place `first` on in an endless order in which every round has all images: each with its round,
    /// from 0.
    pub fn alongside(&self, first: u64, count: usize) -> Vec<(usize, u32)> {
        let (images, mut found) = (self.images.max(1) as u64, Vec::with_capacity(count));
        let mut round: Option<(u64, Vec<usize>)> = None;
        for place in first..first + count as u64 {
            let (number, index) = (place / images, (place % images) as usize);
            if round.as_ref().is_none_or(|(known, _)| *known != number) {
                let mut order: Vec<usize> = (0..self.images).collect();
                Draws::at(self.seed, Stream::Target, number, 0).shuffle(&mut order);
                round = Some((number, order));
            }
            found.extend(round.iter().map(|(_, order)| (order[index], number as u32)));
        }
        found
    }

    /// The ranges of the order that the steps of an epoch use.
    pub fn step_rows(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        parts(0..self.images, self.step_size)
    }

    /// The batches of a step's rows.
    pub fn batches(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        parts(rows, self.batch_size)
    }
}

/// Divides rows into ranges of this size, the last one taking the rest. A single remaining row joins the range before it, because BatchNorm
/// cannot be trained on one image.
pub fn parts(rows: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let part = (!rest.is_empty()).then(|| first_part(rest.clone(), size))?;
        rest.start = part.end;
        Some(part)
    })
}

/// The first range of [`parts`].
pub fn first_part(rows: Range<usize>, size: usize) -> Range<usize> {
    let left = rows.len().saturating_sub(size);
    let end = if left <= usize::from(size > 1) {
        rows.end
    } else {
        rows.start + size
    };
    rows.start..end
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(images: usize, batch_size: usize) -> Plan {
        let spec = json!({"dataset": "d", "batch_size": batch_size, "seed": 5});
        Plan::new(&JobSpec::parse(&spec).unwrap(), vec![0; images])
    }

    #[test]
    fn batches_cover_an_epoch_and_none_has_one_image() {
        for (images, batch_size, sizes) in [
            (10, 4, vec![4, 4, 2]),
            (9, 4, vec![4, 5]),
            (8, 4, vec![4, 4]),
            (3, 4, vec![3]),
            (2, 1, vec![1, 1]),
        ] {
            let plan = plan(images, batch_size);
            let batches: Vec<_> = plan.step_rows().collect();
            assert_eq!(plan.steps_per_epoch(), batches.len());
            assert_eq!(batches.iter().map(Range::len).collect::<Vec<_>>(), sizes);
            assert!(batches.into_iter().flatten().eq(0..images));
        }
    }

    #[test]
    fn a_step_gathers_batches_and_the_last_one_takes_what_is_left() {
        for (images, sizes) in [
            (12, vec![vec![3, 3], vec![3, 3]]),
            (14, vec![vec![3, 3], vec![3, 3], vec![2]]),
            (13, vec![vec![3, 3], vec![3, 4]]),
            (16, vec![vec![3, 3], vec![3, 3], vec![4]]),
            (5, vec![vec![3, 2]]),
        ] {
            let spec = json!({"dataset": "d", "batch_size": 3, "gradient_accumulation_steps": 2});
            let plan = Plan::new(&JobSpec::parse(&spec).unwrap(), vec![0; images]);
            let batches = |rows| plan.batches(rows).map(|batch| batch.len()).collect::<Vec<_>>();
            assert_eq!(plan.step_rows().map(batches).collect::<Vec<_>>(), sizes);
            assert_eq!(plan.steps(), 10 * sizes.len() as u64);
        }
    }

    #[test]
    fn images_that_go_along_come_round_after_round_from_any_place_on() {
        let plan = plan(7, 4);
        let all = plan.alongside(0, 21);
        for round in 0..3 {
            let (of_round, numbers): (Vec<_>, Vec<_>) =
                all[7 * round..7 * (round + 1)].iter().copied().unzip();
            assert_eq!(numbers, [round as u32; 7]);
            let mut sorted = of_round.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..7), "{of_round:?}");
        }
        let places = |range: Range<usize>| all[range].iter().map(|(place, _)| *place).collect::<Vec<_>>();
        assert_ne!(places(0..7), places(7..14));
        assert_eq!(plan.alongside(5, 9), all[5..14]);
    }

    #[test]
    fn each_epoch_has_an_order_of_its_own() {
        let plan = plan(200, 4);
        assert_eq!(plan.order(3), plan.order(3));
        assert_ne!(plan.order(3), plan.order(4));
    }
}
