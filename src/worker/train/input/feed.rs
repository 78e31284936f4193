//! Batches as they reach the trained part of the network: images cropped, augmented, mixed, normalised and passed through the frozen
//! stages, or cached activations of those.

use std::{cell::RefCell, ops::Range, sync::Arc, time::Duration};

use tch::{Device, Tensor};

use super::{
    batch::FeedBatch,
    data::Sample,
    loader::{Item, Loader},
    mixing::{self, Labels},
    views::CachedActivations,
};
use crate::{
    protocol::{TrainRun, UsedActivations},
    worker::{
        augment::{Augmentation, View},
        fault,
        nets::input,
        train::{
            checkpoints::checkpoint::Position, context::TrainContext, learner::Learner, progress::halt::Halt,
        },
    },
};

/// The source of batches. Its output depends only on the position.
pub struct Feed<'a> {
    context: &'a TrainContext,
    augmentation: Arc<Augmentation>,
    loader_threads: usize,
    activations: Option<CachedActivations>,
    /// Loaders of batches that will be asked for.
    ahead: RefCell<Vec<Loader>>,
    /// Of the images of another dataset that go along without labels, if there are any.
    unlabelled: Option<Box<Feed<'a>>>,
}

impl<'a> Feed<'a> {
    /// All batches from pixels.
    pub fn from_pixels(run: &TrainRun, context: &'a TrainContext) -> Self {
        let (spec, recipe) = (&run.spec, run.spec.preprocessing());
        Self {
            context,
            augmentation: Arc::new(Augmentation::new(&spec.augment, spec.seed, &recipe)),
            loader_threads: Loader::threads(context.device, run.common.threads),
            activations: None,
            ahead: RefCell::default(),
            unlabelled: None,
        }
    }

    /// With batches of images that go along.
    pub fn with_unlabelled(self, unlabelled: Option<Feed<'a>>) -> Self {
        let unlabelled = unlabelled.map(Box::new);
        Self { unlabelled, ..self }
    }

    /// Batches of the images that go along.
    pub fn unlabelled(&self) -> Option<&Feed<'a>> {
        self.unlabelled.as_deref()
    }

    /// The same images from pixels.
    pub fn without_activations(&self) -> Self {
        Self {
            context: self.context,
            augmentation: Arc::clone(&self.augmentation),
            loader_threads: self.loader_threads,
            activations: None,
            ahead: RefCell::default(),
            unlabelled: None,
        }
    }

    /// The same batches from cached activations, if there are any.
    pub fn with_activations(self, activations: Option<CachedActivations>) -> Self {
        Self { activations, ..self }
    }

    /// The cached activations, if any, as reported to the server.
    pub fn used_activations(&self) -> Option<UsedActivations> {
        self.activations.as_ref().map(|cached| cached.used.clone())
    }

    /// The remaining batches of the position's epoch.
    pub fn training(&self, position: Position) -> Batches<'_> {
        let (plan, epoch) = (&self.context.plan, position.epoch);
        let batches_of = |rows| plan.batches(rows);
        let earlier = plan.step_rows().take(position.step_in_epoch);
        let ranges = self.ranges(position);
        let batches = |view: u32| self.batches(self.items(epoch, &ranges, view));
        let unlabelled = self
            .unlabelled
            .as_deref()
            .filter(|_| plan.has_unlabelled_in(epoch));
        let others = unlabelled.map(|unlabelled| unlabelled.alongside(position, plan.images, &ranges));
        let others = others.or_else(|| plan.has_two_views.then(|| batches(1)));
        Batches {
            is_taught: plan.is_taught,
            next_batch: Some((epoch, earlier.flat_map(batches_of).count())),
            unlabelled: others.map(Box::new),
            ..batches(0)
        }
    }

    /// Places in the order of the position's epoch that its remaining batches have.
    fn ranges(&self, position: Position) -> Vec<Range<usize>> {
        let plan = &self.context.plan;
        let steps = plan.step_rows().skip(position.step_in_epoch);
        steps.flat_map(|rows| plan.batches(rows)).collect()
    }

    /// The images at these places in the order of an epoch.
    fn items(&self, epoch: u32, ranges: &[Range<usize>], view: u32) -> Vec<Vec<Item>> {
        let (plan, data) = (&self.context.plan, &self.context.data);
        let order = plan.order(epoch);
        let item = |place: &usize| {
            let sample = data.train[*place];
            let id = data.images[sample.image].id;
            Item::new(sample, id, plan.view(epoch, view, id))
        };
        let batch = |range: &Range<usize>| order[range.clone()].iter().map(item).collect();
        ranges.iter().map(batch).collect()
    }

    /// Begins to prepare what follows the training batches of an epoch: the validation images, if they are looked at, and the next epoch, if
    /// there is one. A device that waited for the first batch of each would have nothing to do.
    pub fn look_ahead(&self, validates: bool, next: Option<Position>) {
        if self.activations.is_some() {
            return;
        }
        let training = next.map(|position| self.items(position.epoch, &self.ranges(position), 0));
        let validation = validates.then(|| self.validation_items());
        let loaders = [validation, training].into_iter().flatten();
        *self.ahead.borrow_mut() = loaders.map(|items| self.loader(items)).collect();
    }

    fn loader(&self, items: Vec<Vec<Item>>) -> Loader {
        Loader::start(
            &self.context.pack,
            &self.augmentation,
            items,
            self.loader_threads,
            self.context.device,
        )
    }

    /// Batches of the same sizes as those ranges of an epoch of another `images` images, which go on where those of the epoch before ended.
    fn alongside(&self, position: Position, images: usize, ranges: &[Range<usize>]) -> Batches<'_> {
        let (plan, data) = (&self.context.plan, &self.context.data);
        let first = ranges.first().map_or(0, |range| range.start);
        let before = u64::from(position.epoch - 1) * images as u64 + first as u64;
        let count = ranges.iter().map(Range::len).sum();
        let item = |(place, round): (usize, u32)| {
            let sample = data.train[place];
            let id = data.images[sample.image].id;
            Item::new(sample, id, plan.views.at(round + 1, id))
        };
        let mut items = plan.alongside(before, count).into_iter().map(item);
        let batches = ranges
            .iter()
            .map(|range| items.by_ref().take(range.len()).collect());
        Batches {
            is_taught: plan.is_taught,
            ..self.batches(batches.collect())
        }
    }

    /// The validation images with what the teachers say of them; only from pixels.
    pub fn taught_validation(&self) -> Batches<'_> {
        Batches {
            is_taught: true,
            ..self.validation()
        }
    }

    pub fn validation(&self) -> Batches<'_> {
        self.batches(self.validation_items())
    }

    fn validation_items(&self) -> Vec<Vec<Item>> {
        let batches = self.context.data.val.chunks(self.context.plan.batch_size);
        let images = &self.context.data.images;
        let item = |sample: &Sample| Item::new(*sample, images[sample.image].id, View::PLAIN);
        batches.map(|batch| batch.iter().map(item).collect()).collect()
    }

    /// Batches of any images in this order, unmixed, from pixels if there are no cached activations.
    pub fn batches(&self, items: Vec<Vec<Item>>) -> Batches<'_> {
        let source = match &self.activations {
            Some(cached) => Source::Cached(cached, items.into_iter()),
            None => {
                let mut ahead = self.ahead.borrow_mut();
                let begun = ahead
                    .iter()
                    .position(|loader| loader.is_at_the_beginning_of(&items));
                let loader = begun.map(|place| ahead.swap_remove(place));
                Source::Pixels(loader.unwrap_or_else(|| self.loader(items)))
            }
        };
        Batches {
            feed: self,
            source,
            next_batch: None,
            is_taught: false,
            unlabelled: None,
        }
    }
}

/// Copied to the device. From page-locked memory the copy is asynchronous.
fn sent(tensor: &Tensor, device: Device) -> Tensor {
    tensor.to_device_(device, tensor.kind(), true, false)
}

/// Batches in order.
pub struct Batches<'a> {
    feed: &'a Feed<'a>,
    source: Source<'a>,
    /// Epoch and index, within the epoch, of the next batch; only for training batches, which may be mixed.
    next_batch: Option<(u32, usize)>,
    /// Whether the teachers say what the images are, if there are any.
    is_taught: bool,
    /// Those that go along, or the other views of the same images.
    unlabelled: Option<Box<Batches<'a>>>,
}

enum Source<'a> {
    Pixels(Loader),
    Cached(&'a CachedActivations, std::vec::IntoIter<Vec<Item>>),
}

impl Batches<'_> {
    /// The next batch; none after the last.
    pub fn next(&mut self, learner: &Learner) -> Result<Option<FeedBatch>, Halt> {
        let (feed, device) = (self.feed, self.feed.context.device);
        let recipe = feed.augmentation.recipe();
        let mix = self.next_batch.as_mut().and_then(|(epoch, number)| {
            let mix = feed.context.plan.mixes.at(*epoch, *number, recipe.crop);
            *number += 1;
            mix
        });
        let is_taught = self.is_taught;
        let (boundary, labels, lesson) = match &mut self.source {
            Source::Pixels(loader) => {
                let Some(batch) = loader.next()? else {
                    return Ok(None);
                };
                let mut images = sent(&batch.images, device);
                if let Some(mix) = &mix {
                    images = mixing::mixed(&images, mix);
                }
                let teachers = feed.context.teachers.as_ref().filter(|_| is_taught);
                let lesson = match teachers {
                    Some(teachers) => fault::caught(|| teachers.lesson(&images))?,
                    None => None,
                };
                let images = input::normalised(&images, recipe, device);
                (learner.boundary(&images)?, batch.labels, lesson)
            }
            // Never mixed: see `CachedActivations`.
            Source::Cached(cached, batches) => {
                let Some(items) = batches.next() else {
                    return Ok(None);
                };
                let labels: Vec<i64> = items.iter().map(|item| i64::from(item.class)).collect();
                // On the CPU where all of them together are too large for the device.
                (
                    sent(&cached.of(&items)?, device),
                    Tensor::from_slice(&labels),
                    None,
                )
            }
        };
        let unlabelled = match &mut self.unlabelled {
            Some(unlabelled) => unlabelled.next(learner)?.map(Box::new),
            None => None,
        };
        Ok(Some(FeedBatch {
            lesson,
            unlabelled,
            ..FeedBatch::new(boundary, Labels::new(sent(&labels, device), mix.as_ref()))
        }))
    }

    /// Time spent waiting for pixels.
    pub fn waited(&self) -> Duration {
        let own = match &self.source {
            Source::Pixels(loader) => loader.waited(),
            Source::Cached(..) => Duration::ZERO,
        };
        own + self
            .unlabelled
            .as_ref()
            .map_or(Duration::ZERO, |unlabelled| unlabelled.waited())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::precompute, *};
    use crate::worker::{
        process::child::{Reporter, StopFlag},
        train::{progress::pulse::Heartbeat, setup, tests::drawn::Drawn},
    };

    /// All training batches of some epochs and the validation, from kept activations and from pixels; the latter as they ought to be.
    fn both_ways(augment: &serde_json::Value, freeze: &serde_json::Value) {
        let set = Drawn::flat(24);
        let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
        let run = set.run(json!({"freeze": freeze, "augment": augment, "batch_size": 5, "epochs": 5}));
        let dir = set.dir("run");
        let context = setup::context(&run, &dir, &reporter, &stop).unwrap();
        let (learner, start) = setup::start(&run, &context, &reporter, &stop).unwrap();
        let mut heartbeat = Heartbeat::new(&reporter, &stop);
        let kept = precompute::feed(1, &run, &context, &dir, &learner, &reporter, &mut heartbeat).unwrap();
        assert!(kept.activations.is_some());
        let pixels = Feed {
            context: &context,
            augmentation: Arc::clone(&kept.augmentation),
            loader_threads: 1,
            activations: None,
            ahead: RefCell::default(),
            unlabelled: None,
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
    fn what_is_prepared_ahead_is_what_would_have_come() {
        let set = Drawn::flat(24);
        let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
        let augment = json!({"horizontal_flip": true, "color_jitter": 0.2});
        let run = set.run(json!({"augment": augment, "batch_size": 5, "epochs": 3}));
        let context = setup::context(&run, &set.dir("run"), &reporter, &stop).unwrap();
        let (learner, start) = setup::start(&run, &context, &reporter, &stop).unwrap();
        let [ahead, plain] = [(); 2].map(|()| Feed::from_pixels(&run, &context));
        let of = |mut batches: Batches| {
            let mut all = Vec::new();
            while let Some(batch) = batches.next(&learner).unwrap() {
                all.push((batch.boundary, batch.labels.own));
            }
            all
        };
        let at = |epoch| Position {
            epoch,
            ..start.position
        };
        ahead.look_ahead(true, Some(at(2)));
        assert_eq!(ahead.ahead.borrow().len(), 2);
        let both = [
            [&ahead, &plain].map(|feed| of(feed.validation())),
            [&ahead, &plain].map(|feed| of(feed.training(at(2)))),
        ];
        assert!(ahead.ahead.borrow().is_empty(), "both were used");
        for [ours, expected] in both {
            assert!(!ours.is_empty());
            assert_eq!(ours, expected);
        }
        // What was prepared for another epoch is never taken.
        ahead.look_ahead(true, Some(at(3)));
        assert_eq!(of(ahead.training(at(1))), of(plain.training(at(1))));
        assert_eq!(ahead.ahead.borrow().len(), 2);
        ahead.look_ahead(false, None);
        assert!(ahead.ahead.borrow().is_empty());
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
            let context = setup::context(&run, &dir, &reporter, &stop).unwrap();
            let (learner, _) = setup::start(&run, &context, &reporter, &stop).unwrap();
            let mut heartbeat = Heartbeat::new(&reporter, &stop);
            let feed =
                precompute::feed(1, &run, &context, &dir, &learner, &reporter, &mut heartbeat).unwrap();
            assert_eq!(feed.activations.is_some(), kept, "{augment}");
        }
    }
}
