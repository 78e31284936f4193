//! Threads that cut and mirror pictures ahead of the step that needs them, a bounded number of batches.
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
use crate::{domain::preprocessing::Preprocessing, worker::pixels};

/// One picture of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Place in the dataset's images.
    pub image: usize,
    pub class: u32,
    pub mirrored: bool,
}

impl Item {
    pub fn new(sample: Sample, mirrored: bool) -> Self {
        Self {
            image: sample.image,
            class: sample.class,
            mirrored,
        }
    }
}

/// Pictures and labels on the CPU.
pub struct Batch {
    /// `[N, H, W, 3]`, u8, red, green, blue.
    pub pictures: Tensor,
    /// `[N]`, 64-bit integers.
    pub labels: Tensor,
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

    pub fn start(pack: &Arc<Pack>, recipe: &Preprocessing, batches: Vec<Vec<Item>>, threads: usize) -> Self {
        let count = batches.len();
        let batches = Arc::new(batches);
        let threads = threads.clamp(1, count.max(1));
        let (mut lanes, mut handles) = (Vec::new(), Vec::new());
        for first in 0..threads {
            let (sender, lane) = mpsc::sync_channel(Self::AHEAD);
            let (pack, recipe, batches) = (Arc::clone(pack), recipe.clone(), Arc::clone(&batches));
            let mine = (first..count).step_by(threads);
            handles.push(thread::spawn(move || {
                work(&pack, &recipe, &batches, mine, &sender)
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
    recipe: &Preprocessing,
    batches: &[Vec<Item>],
    mine: impl Iterator<Item = usize>,
    lane: &SyncSender<anyhow::Result<Batch>>,
) {
    for index in mine {
        let batch = assemble(pack, recipe, &batches[index]);
        if lane.send(batch).is_err() {
            return;
        }
    }
}

fn assemble(pack: &Pack, recipe: &Preprocessing, items: &[Item]) -> anyhow::Result<Batch> {
    let side = recipe.crop as usize;
    let mut bytes = Vec::with_capacity(items.len() * side * side * 3);
    let mut labels = Vec::with_capacity(items.len());
    for item in items {
        let mut crop = pixels::prepare_from_pack(pack.picture(item.image)?, recipe);
        if item.mirrored {
            mirror(&mut crop.rgb, side);
        }
        bytes.extend_from_slice(&crop.rgb);
        labels.push(i64::from(item.class));
    }
    let shape = [items.len() as i64, side as i64, side as i64, 3];
    Ok(Batch {
        pictures: Tensor::from_slice(&bytes).view(shape),
        labels: Tensor::from_slice(&labels),
    })
}

/// Turns left and right of rows of `width` pixels of 3 bytes.
fn mirror(rgb: &mut [u8], width: usize) {
    for row in rgb.chunks_exact_mut(width * 3) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirroring_turns_each_row_and_keeps_colours() {
        let mut rgb = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        mirror(&mut rgb, 2);
        assert_eq!(rgb, [4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9]);
    }
}
