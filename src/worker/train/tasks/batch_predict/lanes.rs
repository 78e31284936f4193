//! Parallel threads that prepare pixels and, on a CPU, compute the network's outputs; results come back in order.
//!
//! Lane `t` of `T` gets groups `t`, `t + T`, … and returns each through its own channel, so that the order does not depend on which is
//! faster. All channels are bounded. On a CPU each lane computes on one core: small groups in parallel waste no time waiting for one
//! another.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use anyhow::Context;

use super::{
    network::{Classifier, Item, ItemState},
    reader::ImageReader,
};
use crate::{
    protocol::ManifestImage,
    worker::{
        process::child::{StopFlag, Stopped},
        train::progress::{halt::Halt, pulse::Heartbeat},
    },
};

/// Largest number of images that a lane processes at once, and the bytes of their network inputs.
const GROUP: usize = 16;
const GROUP_BYTES: usize = 4 << 20;
/// Groups that wait for a lane, or to be taken from it.
const QUEUE_DEPTH: usize = 2;
/// How often progress of the lanes is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Shared by the lanes.
pub struct Work<'a> {
    pub reader: &'a ImageReader<'a>,
    /// Set if the lanes compute.
    pub classifier: Option<Classifier>,
    pub stop: &'a StopFlag,
}

impl Work<'_> {
    /// Images per group: depends only on the model and the batch size, so that rows do not depend on the host.
    fn group_size(&self) -> usize {
        let most = self.classifier.as_ref().map_or(GROUP, Classifier::limit);
        let fitting = GROUP_BYTES / self.reader.bytes_per_image().max(1);
        fitting.clamp(1, GROUP).min(most)
    }
}

type Group = anyhow::Result<Vec<Item>>;

pub struct Lanes<'a> {
    requests: Vec<SyncSender<Vec<ManifestImage>>>,
    results: Vec<Receiver<Group>>,
    group: usize,
    /// Groups handed out, and groups returned.
    sent: usize,
    taken: usize,
    heartbeat: &'a mut Heartbeat,
    images_done: &'a AtomicU64,
    over: &'a AtomicBool,
}

impl Lanes<'_> {
    /// Starts the lanes, and ends them when `act` returns.
    pub fn run<T>(
        work: &Work,
        count: usize,
        heartbeat: &mut Heartbeat,
        act: impl FnOnce(&mut Lanes) -> Result<T, Halt>,
    ) -> Result<T, Halt> {
        let (images_done, over) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let (mut requests, mut results) = (Vec::new(), Vec::new());
            for number in 0..count {
                let (ask, images) = sync_channel(QUEUE_DEPTH);
                let (give, items) = sync_channel(QUEUE_DEPTH);
                let lane = Lane {
                    reader: work.reader,
                    classifier: work.classifier.as_ref().map(Classifier::share),
                    stop: work.stop,
                    over: &over,
                    images_done: &images_done,
                };
                thread::Builder::new()
                    .name(format!("lane-{number}"))
                    .spawn_scoped(scope, move || lane.run(&images, &give))
                    .context("cannot start a thread")?;
                requests.push(ask);
                results.push(items);
            }
            let mut lanes = Lanes {
                requests,
                results,
                group: work.group_size(),
                sent: 0,
                taken: 0,
                heartbeat,
                images_done: &images_done,
                over: &over,
            };
            // Dropping the channels, and with them the flag, ends the threads.
            act(&mut lanes)
        })
    }

    /// The next group; none after the last. Meanwhile hands out as much as the lanes accept.
    pub fn next(
        &mut self,
        images: &mut impl Iterator<Item = anyhow::Result<ManifestImage>>,
    ) -> Result<Option<Vec<Item>>, Halt> {
        self.heartbeat.beat()?;
        while self.sent < self.taken + self.requests.len() * QUEUE_DEPTH {
            let group: Vec<ManifestImage> = images.by_ref().take(self.group).collect::<Result<_, _>>()?;
            if group.is_empty() {
                break;
            }
            let lane = &self.requests[self.sent % self.requests.len()];
            lane.send(group).ok().context("a lane has died")?;
            self.sent += 1;
        }
        if self.taken == self.sent {
            return Ok(None);
        }
        let group = self.receive()?;
        self.taken += 1;
        match group {
            Err(fault) if fault.is::<Stopped>() => Err(Halt::Stopped),
            group => Ok(Some(group?)),
        }
    }

    /// Sends heartbeats as long as any lane makes progress: a large image takes time.
    fn receive(&mut self) -> Result<Group, Halt> {
        let mut before = self.images_done.load(Ordering::Relaxed);
        loop {
            let lane = &self.results[self.taken % self.results.len()];
            match lane.recv_timeout(POLL_INTERVAL) {
                Ok(group) => return Ok(group),
                Err(RecvTimeoutError::Disconnected) => return Err(anyhow::anyhow!("a lane has died").into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = self.images_done.load(Ordering::Relaxed);
            if now > before {
                self.heartbeat.send();
            }
            before = now;
            if self.heartbeat.is_stopped() {
                return Err(Halt::Stopped);
            }
        }
    }
}

impl Drop for Lanes<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

struct Lane<'a> {
    reader: &'a ImageReader<'a>,
    classifier: Option<Classifier>,
    stop: &'a StopFlag,
    over: &'a AtomicBool,
    images_done: &'a AtomicU64,
}

impl Lane<'_> {
    fn run(mut self, images: &Receiver<Vec<ManifestImage>>, results: &SyncSender<Group>) {
        tch::set_num_threads(1);
        while let Ok(group) = images.recv() {
            if results.send(self.make(group)).is_err() {
                return;
            }
        }
    }

    fn make(&mut self, group: Vec<ManifestImage>) -> Group {
        let mut items = Vec::with_capacity(group.len());
        for image in group {
            if self.stop.is_set() || self.over.load(Ordering::Relaxed) {
                return Err(Stopped.into());
            }
            let state = match self.reader.read(&image)? {
                Ok(pixels) => ItemState::Pixels(pixels),
                Err(error) => ItemState::Unreadable(error),
            };
            items.push(Item { image, state });
            self.images_done.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(classifier) = &mut self.classifier {
            classifier.classify(&mut items)?;
        }
        Ok(items)
    }
}
