//! Threads that cut and augment pictures ahead of the step that needs them, a bounded number of batches.
//!
//! Thread `t` of `T` makes batches `t`, `t + T`, …, each into a channel of its own, so that batches come in order whichever thread is
//! quicker. What a batch holds depends on nothing but its items.

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
use crate::worker::augment::{Augmentation, Look};

/// One picture of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Place in the dataset's images.
    pub image: usize,
    /// Its number in the manifest.
    pub id: u32,
    pub class: u32,
    pub look: Look,
}

impl Item {
    pub fn new(sample: Sample, id: u32, look: Look) -> Self {
        Self {
            image: sample.image,
            id,
            class: sample.class,
            look,
        }
    }
}

/// Pictures and labels on the CPU; for a card in memory that it copies from by itself.
pub struct Batch {
    /// `[N, H, W, 3]`, u8, red, green, blue.
    pub pictures: Tensor,
    /// `[N]`, 64-bit integers.
    pub labels: Tensor,
}

impl Batch {
    /// Page-locked memory is what a card can copy from while the processor goes on.
    fn pinned_for(self, device: Device) -> anyhow::Result<Self> {
        if !device.is_cuda() {
            return Ok(self);
        }
        Ok(Self {
            pictures: self.pictures.f_pin_memory(device)?,
            labels: self.labels.f_pin_memory(device)?,
        })
    }
}

/// Batches in order.
pub struct Loader {
    lanes: Vec<Receiver<anyhow::Result<Batch>>>,
    threads: Vec<JoinHandle<()>>,
    next: usize,
    count: usize,
    waited: Duration,
}

impl Loader {
    /// Batches that a thread has ready at most.
    const AHEAD: usize = 2;

    /// On a GPU host the loader has the processor to itself; on a CPU the network needs it.
    pub fn threads(device: Device, threads: u32) -> usize {
        if device.is_cuda() {
            threads.clamp(1, 8) as usize
        } else {
            1
        }
    }

    /// Batches of these items, made by so many threads, for this device.
    pub fn start(
        pack: &Arc<Pack>,
        augmentation: &Arc<Augmentation>,
        batches: Vec<Vec<Item>>,
        threads: usize,
        device: Device,
    ) -> Self {
        let count = batches.len();
        let batches = Arc::new(batches);
        let threads = threads.clamp(1, count.max(1));
        let (mut lanes, mut handles) = (Vec::new(), Vec::new());
        for first in 0..threads {
            let (sender, lane) = mpsc::sync_channel(Self::AHEAD);
            let (pack, augmentation) = (Arc::clone(pack), Arc::clone(augmentation));
            let batches = Arc::clone(&batches);
            let mine = (first..count).step_by(threads);
            handles.push(thread::spawn(move || {
                work(&pack, &augmentation, &batches, device, mine, &sender)
            }));
            lanes.push(lane);
        }
        Self {
            lanes,
            threads: handles,
            next: 0,
            count,
            waited: Duration::ZERO,
        }
    }

    /// Time that [`Loader::next`] has spent waiting.
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
    /// Closing the lanes ends the threads: their next batch finds nobody.
    fn drop(&mut self) {
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // One that panicked has told so on stderr, and its lane has been missed by whoever waited for it.
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
        let packed = pack.picture(item.image)?;
        let picture = augmentation.picture(packed.view(), item.id, item.look);
        pack.put_back(item.image);
        bytes.extend_from_slice(&picture.rgb);
        labels.push(i64::from(item.class));
    }
    let shape = [items.len() as i64, side as i64, side as i64, 3];
    Ok(Batch {
        pictures: Tensor::from_slice(&bytes).view(shape),
        labels: Tensor::from_slice(&labels),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::worker::{
        process::child::{Reporter, StopFlag},
        train::{input::data, progress::pulse::Pulse, setup, tests::drawn::Drawn},
    };

    #[test]
    fn a_picture_has_the_same_bytes_in_whatever_batch_and_thread() {
        let set = Drawn::flat(12);
        let augment = json!({"rotation_degrees": 30, "color_jitter": 0.4, "rand_augment": {}, "random_erasing": 0.5,
            "random_resized_crop": [0.2, 1], "horizontal_flip": true});
        let run = set.run(json!({"augment": augment}));
        let data = data::read(&run.common.dataset, &run.spec.split).unwrap();
        let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
        let mut pulse = Pulse::new(&reporter, &stop);
        let (side, dir) = (setup::side(&run.spec), set.dir("run"));
        let pack = setup::pack(&run.common.dataset, &data, side, &dir, 1, &mut pulse);
        let pack = Arc::new(pack.unwrap_or_else(|_| panic!("no pack")));
        let augmentation = Augmentation::new(&run.spec.augment, run.spec.seed, &run.spec.preprocessing());
        let augmentation = Arc::new(augmentation);
        let item = |image: usize| Item {
            image,
            id: data.images[image].id,
            class: 0,
            look: Look::Drawn(3),
        };
        let pictures = |order: Vec<usize>, batch_size: usize, threads: usize| -> Vec<Tensor> {
            let batches = order
                .chunks(batch_size)
                .map(|batch| batch.iter().copied().map(item).collect());
            let mut loader = Loader::start(&pack, &augmentation, batches.collect(), threads, Device::Cpu);
            let mut found: Vec<_> = (0..12).map(|_| Tensor::new()).collect();
            let mut place = order.into_iter();
            while let Some(batch) = loader.next().unwrap() {
                for row in 0..batch.pictures.size()[0] {
                    found[place.next().unwrap()] = batch.pictures.get(row);
                }
            }
            found
        };
        let expected = pictures((0..12).collect(), 12, 1);
        assert!(!expected[0].equal(&expected[1]));
        for (batch_size, threads) in [(1, 3), (5, 2)] {
            let got = pictures((0..12).rev().collect(), batch_size, threads);
            for (got, expected) in got.iter().zip(&expected) {
                assert!(
                    got.equal(expected),
                    "in batches of {batch_size} on {threads} threads"
                );
            }
        }
    }
}
