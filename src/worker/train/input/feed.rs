//! Batches as they reach the part of the network that learns: pictures cut, augmented, mixed, normalised and carried through the frozen
//! stages, or the boundary activations of before where they are kept.

use std::{sync::Arc, time::Duration};

use tch::{Device, Tensor};

use super::{
    data::Sample,
    loader::{Item, Loader},
    mixing::{self, Labels},
    views::Views,
};
use crate::{
    protocol::{TrainRun, UsedActivations},
    worker::{
        augment::{Augmentation, Look},
        nets::input,
        train::{checkpoints::checkpoint::Position, context::Ground, learner::Learner, progress::halt::Halt},
    },
};

/// Where batches come from. What it gives depends on the position only.
pub struct Feed<'a> {
    ground: &'a Ground,
    augmentation: Arc<Augmentation>,
    loader_threads: usize,
    views: Option<Views>,
}

/// One batch, on the device.
pub struct Ready {
    /// See [`Learner::boundary`].
    pub boundary: Tensor,
    pub labels: Labels,
    pub images: u64,
}

impl<'a> Feed<'a> {
    /// All batches from pixels.
    pub fn from_pixels(run: &TrainRun, ground: &'a Ground) -> Self {
        let (spec, recipe) = (&run.spec, run.spec.preprocessing());
        Self {
            ground,
            augmentation: Arc::new(Augmentation::new(&spec.augment, spec.seed, &recipe)),
            loader_threads: Loader::threads(ground.device, run.common.threads),
            views: None,
        }
    }

    /// The same batches from kept activations, where there are any.
    pub fn keeping(self, views: Option<Views>) -> Self {
        Self { views, ..self }
    }

    /// The kept activations, if any, as the server is to know of them.
    pub fn used_activations(&self) -> Option<UsedActivations> {
        self.views.as_ref().map(|views| views.used.clone())
    }

    /// The batches of the position's epoch that are still to come.
    pub fn training(&self, position: Position) -> Batches<'_> {
        let (plan, data, epoch) = (&self.ground.plan, &self.ground.data, position.epoch);
        let order = plan.order(epoch);
        let item = |place: &usize| {
            let sample = data.train[*place];
            let id = data.images[sample.image].id;
            Item::new(sample, id, plan.looks.at(epoch, id))
        };
        let batches_of = |rows| plan.batches(rows);
        let earlier = plan.step_rows().take(position.step_in_epoch);
        let steps = plan.step_rows().skip(position.step_in_epoch);
        let batches = steps.flat_map(batches_of);
        let batches = batches.map(|batch| order[batch].iter().map(item).collect());
        Batches {
            next_batch: Some((epoch, earlier.flat_map(batches_of).count())),
            ..self.batches(batches.collect())
        }
    }

    pub fn validation(&self) -> Batches<'_> {
        let batches = self.ground.data.val.chunks(self.ground.plan.batch_size);
        let images = &self.ground.data.images;
        let item = |sample: &Sample| Item::new(*sample, images[sample.image].id, Look::PLAIN);
        self.batches(batches.map(|batch| batch.iter().map(item).collect()).collect())
    }

    /// Batches of any pictures in this order, unmixed, from pixels where no activations are kept.
    pub fn batches(&self, items: Vec<Vec<Item>>) -> Batches<'_> {
        let source = match &self.views {
            Some(views) => Source::Kept(views, items.into_iter()),
            None => Source::Pixels(Loader::start(
                &self.ground.pack,
                &self.augmentation,
                items,
                self.loader_threads,
                self.ground.device,
            )),
        };
        Batches {
            feed: self,
            source,
            next_batch: None,
        }
    }
}

/// The same on the device. Where it lies in page-locked memory nobody waits for that: the device does it in turn.
fn sent(tensor: &Tensor, device: Device) -> Tensor {
    tensor.to_device_(device, tensor.kind(), true, false)
}

/// Batches in order.
pub struct Batches<'a> {
    feed: &'a Feed<'a>,
    source: Source<'a>,
    /// Epoch and number, in the epoch, of the next batch, where batches are trained on and so may be mixed.
    next_batch: Option<(u32, usize)>,
}

enum Source<'a> {
    Pixels(Loader),
    Kept(&'a Views, std::vec::IntoIter<Vec<Item>>),
}

impl Batches<'_> {
    /// The next batch; none after the last.
    pub fn next(&mut self, learner: &Learner) -> Result<Option<Ready>, Halt> {
        let (feed, device) = (self.feed, self.feed.ground.device);
        let recipe = feed.augmentation.recipe();
        let mix = self.next_batch.as_mut().and_then(|(epoch, number)| {
            let mix = feed.ground.plan.mixes.at(*epoch, *number, recipe.crop);
            *number += 1;
            mix
        });
        let (boundary, labels) = match &mut self.source {
            Source::Pixels(loader) => {
                let Some(batch) = loader.next()? else {
                    return Ok(None);
                };
                let mut pictures = sent(&batch.pictures, device);
                if let Some(mix) = &mix {
                    pictures = mixing::mixed(&pictures, mix);
                }
                let pictures = input::normalised(&pictures, recipe, device);
                (learner.boundary(&pictures)?, batch.labels)
            }
            // Never mixed: see `Views::keep`.
            Source::Kept(views, batches) => {
                let Some(items) = batches.next() else {
                    return Ok(None);
                };
                let labels: Vec<i64> = items.iter().map(|item| i64::from(item.class)).collect();
                (views.of(&items)?, Tensor::from_slice(&labels))
            }
        };
        Ok(Some(Ready {
            boundary,
            images: labels.size()[0] as u64,
            labels: Labels::new(sent(&labels, device), mix.as_ref()),
        }))
    }

    /// Time spent waiting for pixels.
    pub fn waited(&self) -> Duration {
        match &self.source {
            Source::Pixels(loader) => loader.waited(),
            Source::Kept(..) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::precompute, *};
    use crate::worker::{
        process::child::{Reporter, StopFlag},
        train::{progress::pulse::Pulse, setup, tests::drawn::Drawn},
    };

    /// All training batches of some epochs and the validation, from kept activations and from pixels; the latter as they ought to be.
    fn both_ways(augment: &serde_json::Value, freeze: &serde_json::Value) {
        let set = Drawn::flat(24);
        let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
        let run = set.run(json!({"freeze": freeze, "augment": augment, "batch_size": 5, "epochs": 5}));
        let dir = set.dir("run");
        let ground = setup::ground(&run, &dir, &reporter, &stop).unwrap();
        let (learner, start) = setup::start(&run, &ground, &reporter, &stop).unwrap();
        let mut pulse = Pulse::new(&reporter, &stop);
        let kept = precompute::feed(1, &run, &ground, &dir, &learner, &reporter, &mut pulse).unwrap();
        assert!(kept.views.is_some());
        let pixels = Feed {
            ground: &ground,
            augmentation: Arc::clone(&kept.augmentation),
            loader_threads: 1,
            views: None,
        };
        let epochs = (1..=5).map(|epoch| Position {
            epoch,
            ..start.position
        });
        let mut both: Vec<_> = epochs
            .map(|position| (kept.training(position), pixels.training(position)))
            .collect();
        both.push((kept.validation(), pixels.validation()));
        for (mut ours, mut theirs) in both {
            while let Some(expected) = theirs.next(&learner).unwrap() {
                let got = ours.next(&learner).unwrap().unwrap();
                assert_eq!(got.labels.own, expected.labels.own);
                assert_eq!(got.boundary.stride(), expected.boundary.stride());
                let off = (got.boundary - expected.boundary).abs().max().double_value(&[]);
                assert!(off <= 1e-5, "{off:e}");
            }
            assert!(ours.next(&learner).unwrap().is_none());
        }
    }

    #[test]
    fn kept_activations_are_those_of_the_pixels() {
        let flips = json!({"horizontal_flip": true, "vertical_flip": true});
        let views = json!({"horizontal_flip": true, "rotation_degrees": 20, "random_resized_crop": [0.3, 1], "views": 3,
            "color_jitter": 0.3, "rand_augment": {}, "random_erasing": 0.5});
        both_ways(&flips, &json!("backbone"));
        both_ways(&views, &json!("backbone"));
        both_ways(&views, &json!({"until": "layer1"}));
    }

    #[test]
    fn what_is_new_each_time_is_not_kept() {
        let set = Drawn::flat(24);
        let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
        for (augment, kept) in [
            (json!({"horizontal_flip": true}), true),
            (json!({"color_jitter": 0.2}), false),
            (json!({"color_jitter": 0.2, "views": 9}), true),
            (json!({"color_jitter": 0.2, "views": 10}), false),
            (json!({"mixup": 0.2}), false),
            (json!({"cutmix": 1.0, "horizontal_flip": true}), false),
        ] {
            let run = set.run(json!({"freeze": "backbone", "augment": augment, "epochs": 9}));
            let dir = set.dir("run");
            let ground = setup::ground(&run, &dir, &reporter, &stop).unwrap();
            let (learner, _) = setup::start(&run, &ground, &reporter, &stop).unwrap();
            let mut pulse = Pulse::new(&reporter, &stop);
            let feed = precompute::feed(1, &run, &ground, &dir, &learner, &reporter, &mut pulse).unwrap();
            assert_eq!(feed.views.is_some(), kept, "{augment}");
        }
    }
}
