//! Batches as they reach the part of the network that learns: pictures cut, normalised and carried through the frozen stages, or the
//! boundary activations of before where they are kept.

use std::time::Duration;

use tch::Tensor;

use super::{
    checkpoint::Position,
    halt::Halt,
    learner::Learner,
    loader::{Item, Loader},
    pulse::Pulse,
    setup::Ground,
    views::{self, Views},
};
use crate::{
    domain::preprocessing::Preprocessing,
    protocol::{TrainRun, UsedActivations},
    worker::{
        child::{Reporter, RunDir},
        nets::input,
    },
};

/// Where batches come from. What it gives depends on the position only.
pub struct Feed<'a> {
    ground: &'a Ground,
    recipe: Preprocessing,
    loader_threads: usize,
    views: Option<Views>,
}

/// One batch, on the device.
pub struct Ready {
    /// See [`Learner::boundary`].
    pub boundary: Tensor,
    /// `[N]`, 64-bit integers.
    pub labels: Tensor,
    pub images: u64,
}

impl<'a> Feed<'a> {
    /// For `epoch` and those with the same frozen stages. Computes the frozen stages' activations for all views at once where they are to
    /// be kept.
    ///
    /// # Errors
    /// [`Halt::Stopped`] where that takes too long for whoever set the flag.
    pub fn new(
        epoch: u32,
        run: &TrainRun,
        ground: &'a Ground,
        dir: &RunDir,
        learner: &Learner,
        reporter: &Reporter,
        pulse: &mut Pulse,
    ) -> Result<Self, Halt> {
        let mut feed = Self {
            ground,
            recipe: run.spec.preprocessing(),
            loader_threads: Loader::threads(ground.device, run.threads),
            views: None,
        };
        let source = views::Source {
            epoch,
            feed: &feed,
            run,
            ground,
            dir,
            learner,
            reporter,
        };
        feed.views = source.views(pulse)?;
        Ok(feed)
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
            let image = data.images[sample.image].id;
            Item::new(sample, plan.mirrored(epoch, image))
        };
        let steps = plan.step_rows().skip(position.step_in_epoch);
        let batches = steps.flat_map(|rows| plan.batches(rows));
        let batches = batches.map(|batch| order[batch].iter().map(item).collect());
        self.batches(batches.collect())
    }

    pub fn validation(&self) -> Batches<'_> {
        let batches = self.ground.data.val.chunks(self.ground.plan.batch_size);
        let items = |batch: &[_]| batch.iter().map(|sample| Item::new(*sample, false)).collect();
        self.batches(batches.map(items).collect())
    }

    /// Batches of any pictures in this order, from pixels where no activations are kept.
    pub fn batches(&self, items: Vec<Vec<Item>>) -> Batches<'_> {
        let source = match &self.views {
            Some(views) => Source::Kept(views, items.into_iter()),
            None => Source::Pixels(Loader::start(
                &self.ground.pack,
                &self.recipe,
                items,
                self.loader_threads,
            )),
        };
        Batches { feed: self, source }
    }
}

/// Batches in order.
pub struct Batches<'a> {
    feed: &'a Feed<'a>,
    source: Source<'a>,
}

enum Source<'a> {
    Pixels(Loader),
    Kept(&'a Views, std::vec::IntoIter<Vec<Item>>),
}

impl Batches<'_> {
    /// The next batch; none after the last.
    pub fn next(&mut self, learner: &Learner) -> Result<Option<Ready>, Halt> {
        let device = self.feed.ground.device;
        let (boundary, labels) = match &mut self.source {
            Source::Pixels(loader) => {
                let Some(batch) = loader.next()? else {
                    return Ok(None);
                };
                let pictures = input::normalised(&batch.pictures, &self.feed.recipe, device);
                (learner.boundary(&pictures)?, batch.labels)
            }
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
            labels: labels.to_device(device),
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

    use super::*;
    use crate::worker::{
        child::StopFlag,
        train::{setup, tests::drawn::Drawn},
    };

    #[test]
    fn kept_activations_are_those_of_the_pixels() {
        let set = Drawn::flat(24);
        let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
        for freeze in [json!("backbone"), json!({"until": "layer1"})] {
            let run =
                set.run(json!({"freeze": freeze, "augment": {"horizontal_flip": true}, "batch_size": 5}));
            let dir = set.dir("run");
            let ground = setup::ground(&run, &dir, &reporter, &stop).unwrap();
            let (learner, start) = setup::start(&run, &ground, &reporter, &stop).unwrap();
            let mut pulse = Pulse::new(&reporter, &stop);
            let kept = Feed::new(1, &run, &ground, &dir, &learner, &reporter, &mut pulse).unwrap();
            assert!(kept.views.is_some());
            let pixels = Feed {
                views: None,
                recipe: kept.recipe.clone(),
                ..kept
            };
            let kept = Feed::new(1, &run, &ground, &dir, &learner, &reporter, &mut pulse).unwrap();
            let both = [
                (kept.training(start.position), pixels.training(start.position)),
                (kept.validation(), pixels.validation()),
            ];
            for (mut ours, mut theirs) in both {
                while let Some(expected) = theirs.next(&learner).unwrap() {
                    let got = ours.next(&learner).unwrap().unwrap();
                    assert_eq!(got.labels, expected.labels);
                    assert_eq!(got.boundary.stride(), expected.boundary.stride());
                    let off = (got.boundary - expected.boundary).abs().max().double_value(&[]);
                    assert!(off <= 1e-5, "{off:e}");
                }
                assert!(ours.next(&learner).unwrap().is_none());
            }
        }
    }
}
