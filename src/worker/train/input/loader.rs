//! Threads that crop and augment images ahead of the step that needs them, for a limited number of batches.
//!
//! Thread `t` of `T` produces batches `t`, `t + T`, …, each into its own channel, so that batches arrive in order whichever thread is
//! faster. The content of a batch depends only on its items.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use tch::{Device, Tensor};

use super::{data::Sample, pack::Pack};
use crate::worker::augment::{Augmentation, View};

/// One image of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Index of the image in the dataset.
    pub image: usize,
    /// Its id in the manifest.
    pub id: u32,
    pub class: u32,
    pub view: View,
}

impl Item {
    pub fn new(sample: Sample, id: u32, view: View) -> Self {
        Self {
            image: sample.image,
            id,
            class: sample.class,
            view,
        }
    }
}

/// Images and labels on the CPU; for a GPU in page-locked memory.
pub struct Batch {
    /// `[N, H, W, 3]`, u8, red, green, blue.
    pub images: Tensor,
    /// `[N]`, 64-bit integers.
    pub labels: Tensor,
}

impl Batch {
    /// A GPU can copy from page-locked memory asynchronously.
    fn pinned_for(self, device: Device) -> anyhow::Result<Self> {
        if !device.is_cuda() {
            return Ok(self);
        }
        Ok(Self {
            images: self.images.f_pin_memory(device)?,
            labels: self.labels.f_pin_memory(device)?,
        })
    }
}

/// Batches in order.
pub struct Loader {
    lanes: Vec<Receiver<anyhow::Result<Batch>>>,
    threads: Vec<JoinHandle<()>>,
    batches: Arc<Vec<Vec<Item>>>,
    next: usize,
    count: usize,
    waited: Duration,
}

impl Loader {
    /// Batches that a thread prepares ahead at most.
    const QUEUE_DEPTH: usize = 2;

    /// With a GPU the loader has the CPU to itself, but for the thread that drives it and for the server; otherwise the network needs it.
    pub fn threads(device: Device, threads: u32) -> usize {
        if device.is_cuda() {
            threads.saturating_sub(2).max(1) as usize
        } else {
            1
        }
    }

    /// Batches of these items, produced by this many threads, for this device.
    pub fn start(
        pack: &Arc<Pack>,
        augmentation: &Arc<Augmentation>,
        batches: Vec<Vec<Item>>,
        threads: usize,
        device: Device,
    ) -> Self {
        let count = batches.len();
        let all = Arc::new(batches);
        let threads = threads.clamp(1, count.max(1));
        let (mut lanes, mut handles) = (Vec::new(), Vec::new());
        for first in 0..threads {
            let (sender, lane) = mpsc::sync_channel(Self::QUEUE_DEPTH);
            let (pack, augmentation) = (Arc::clone(pack), Arc::clone(augmentation));
            let batches = Arc::clone(&all);
            let mine = (first..count).step_by(threads);
            handles.push(thread::spawn(move || {
                work(&pack, &augmentation, &batches, device, mine, &sender)
            }));
            lanes.push(lane);
        }
        Self {
            lanes,
            threads: handles,
            batches: all,
            next: 0,
            count,
            waited: Duration::ZERO,
        }
    }

    /// Whether it produces these batches and has handed out none of them.
    pub fn is_at_the_beginning_of(&self, batches: &[Vec<Item>]) -> bool {
        self.next == 0 && *self.batches == batches
    }

    /// Time spent waiting in [`Loader::next`].
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The next batch; none after the last.
    pub fn next(&mut self) -> anyhow::Result<Option<Batch>> {
        if self.next == self.count {
            return Ok(None);
        }
        let lane = &self.lanes[self.next % self.lanes.len()];
        self.next += 1;
        let asked = Instant::now();
        let batch = lane.recv();
        self.waited += asked.elapsed();
        batch.context("a loader thread has died")?.map(Some)
    }
}

impl Drop for Loader {
    /// Closing the channels ends the threads: sending their next batch fails.
    fn drop(&mut self) {
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // A thread that panicked has reported it on stderr, and whoever waited for it has noticed.
            let _ = thread.join();
        }
    }
}

fn work(
    pack: &Pack,
    augmentation: &Augmentation,
    batches: &[Vec<Item>],
    device: Device,
    mine: impl Iterator<Item = usize>,
    lane: &SyncSender<anyhow::Result<Batch>>,
) {
    // libgomp would give this thread a team of its own, for a tensor that is filled. With more threads than cores none of its threads waits by
    // spinning any more, and each layer of the training would have to wake them: small networks took up to twice as long.
    tch::set_num_threads(1);
    for index in mine {
        let batch = assemble(pack, augmentation, &batches[index]).and_then(|batch| batch.pinned_for(device));
        if lane.send(batch).is_err() {
            return;
        }
    }
}

fn assemble(pack: &Pack, augmentation: &Augmentation, items: &[Item]) -> anyhow::Result<Batch> {
    let side = augmentation.recipe().crop as usize;
    let mut bytes = Vec::with_capacity(items.len() * side * side * 3);
    let mut labels = Vec::with_capacity(items.len());
    for item in items {
        let packed = pack.image(item.image)?;
        let image = augmentation.apply(packed.view(), item.id, item.view);
        pack.release(item.image);
        bytes.extend_from_slice(&image.rgb);
        labels.push(i64::from(item.class));
    }
    let shape = [items.len() as i64, side as i64, side as i64, 3];
    Ok(Batch {
        images: Tensor::from_slice(&bytes).view(shape),
        labels: Tensor::from_slice(&labels),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::worker::{
        process::child::{Reporter, StopFlag},
        train::{input::data, progress::pulse::Heartbeat, setup, tests::drawn::Drawn},
    };

    #[test]
    fn an_image_has_the_same_bytes_in_whatever_batch_and_thread() {
        let set = Drawn::flat(12);
        let augment = json!({"rotation_degrees": 30, "color_jitter": 0.4, "rand_augment": {}, "random_erasing": 0.5,
            "random_resized_crop": [0.2, 1], "horizontal_flip": true});
        let run = set.run(json!({"augment": augment}));
        let data = data::read(&run.common.dataset, &run.spec.split, run.spec.task).unwrap();
        let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
        let mut heartbeat = Heartbeat::new(&reporter, &stop);
        let (side, dir) = (setup::side(&run.spec), set.dir("run"));
        let pack = setup::pack(&run.common.dataset, &data, side, &dir, 1, &mut heartbeat);
        let pack = Arc::new(pack.unwrap_or_else(|_| panic!("no pack")));
        let augmentation = Augmentation::new(&run.spec.augment, run.spec.seed, &run.spec.preprocessing());
        let augmentation = Arc::new(augmentation);
        let item = |image: usize| Item {
            image,
            id: data.images[image].id,
            class: 0,
            view: View::Drawn(3),
        };
        let images = |order: Vec<usize>, batch_size: usize, threads: usize| -> Vec<Tensor> {
            let batches = order
                .chunks(batch_size)
                .map(|batch| batch.iter().copied().map(item).collect());
            let mut loader = Loader::start(&pack, &augmentation, batches.collect(), threads, Device::Cpu);
            let mut found: Vec<_> = (0..12).map(|_| Tensor::new()).collect();
            let mut place = order.into_iter();
            while let Some(batch) = loader.next().unwrap() {
                for row in 0..batch.images.size()[0] {
                    found[place.next().unwrap()] = batch.images.get(row);
                }
            }
            found
        };
        let expected = images((0..12).collect(), 12, 1);
        assert!(!expected[0].equal(&expected[1]));
        for (batch_size, threads) in [(1, 3), (5, 2)] {
            let got = images((0..12).rev().collect(), batch_size, threads);
            for (got, expected) in got.iter().zip(&expected) {
                assert!(
                    got.equal(expected),
                    "in batches of {batch_size} on {threads} threads"
                );
            }
        }
    }
}
