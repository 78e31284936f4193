//! What is trained on when: order, batches, looks and mixes as pure functions of seed and epoch.
//!
//! Nothing here depends on what ran before, so that a resumed run sees exactly what an uninterrupted one would have seen.

use std::ops::Range;

use crate::{
    domain::{
        random::{Draws, Stream},
        spec::JobSpec,
    },
    worker::augment::{Looks, Mixes},
};

/// The schedule of a run. Epochs count from 1, steps of an epoch from 0.
#[derive(Clone, Debug)]
pub struct Plan {
    pub epochs: u32,
    /// Training images.
    pub images: usize,
    pub batch_size: usize,
    /// How each image is shown in each epoch.
    pub looks: Looks,
    /// Which pictures of a batch are mixed in each step.
    pub mixes: Mixes,
    seed: u64,
}

impl Plan {
    pub fn new(spec: &JobSpec, images: usize) -> Self {
        Self {
            epochs: spec.epochs,
            images,
            batch_size: spec.batch_size as usize,
            looks: Looks::new(&spec.augment, spec.seed),
            mixes: Mixes::new(&spec.augment, spec.seed),
            seed: spec.seed,
        }
    }

    /// The last batch of an epoch takes what is left; a single picture that would be left alone joins the batch before it, because
    /// BatchNorm cannot learn from one.
    pub fn steps_per_epoch(&self) -> usize {
        let whole = self.images / self.batch_size;
        match self.images % self.batch_size {
            0 => whole,
            1 if whole > 0 => whole,
            _ => whole + 1,
        }
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.steps_per_epoch() as u64 * u64::from(self.epochs)
    }

    /// Places of the training images in the order in which an epoch takes them.
    pub fn order(&self, epoch: u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.images).collect();
        Draws::at(self.seed, Stream::Shuffle, u64::from(epoch), 0).shuffle(&mut order);
        order
    }

    /// Which part of the order a step takes.
    pub fn batch(&self, step: usize) -> Range<usize> {
        let start = step * self.batch_size;
        let last = step + 1 == self.steps_per_epoch();
        start..if last {
            self.images
        } else {
            start + self.batch_size
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(images: usize, batch_size: usize) -> Plan {
        let spec = json!({"dataset": "d", "batch_size": batch_size, "seed": 5});
        Plan::new(&JobSpec::parse(&spec).unwrap(), images)
    }

    #[test]
    fn batches_cover_an_epoch_and_none_has_one_picture() {
        for (images, batch_size, sizes) in [
            (10, 4, vec![4, 4, 2]),
            (9, 4, vec![4, 5]),
            (8, 4, vec![4, 4]),
            (3, 4, vec![3]),
            (2, 1, vec![1, 1]),
        ] {
            let plan = plan(images, batch_size);
            let batches: Vec<_> = (0..plan.steps_per_epoch()).map(|step| plan.batch(step)).collect();
            assert_eq!(batches.iter().map(Range::len).collect::<Vec<_>>(), sizes);
            assert!(batches.into_iter().flatten().eq(0..images));
        }
    }

    #[test]
    fn each_epoch_has_an_order_of_its_own() {
        let plan = plan(200, 4);
        assert_eq!(plan.order(3), plan.order(3));
        assert_ne!(plan.order(3), plan.order(4));
    }
}
