//! Threads side by side that make pixels of images, and on a processor outputs of the pixels; what they made comes back in order.
//!
//! Lane `t` of `T` gets groups `t`, `t + T`, … and gives each back through a channel of its own, so that the order does not depend on who
//! is quicker. All channels are bounded. On a processor each lane computes on one core: small groups side by side waste nothing on
//! waiting for one another.

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
    network::{Answers, Item, Seen},
    pictures::Pictures,
};
use crate::{
    protocol::ManifestImage,
    worker::{
        process::child::{StopFlag, Stopped},
        train::progress::{halt::Halt, pulse::Pulse},
    },
};

/// Most images that a lane has in its hands at once, and most bytes of what networks see of them.
const GROUP: usize = 16;
const GROUP_BYTES: usize = 4 << 20;
/// Groups that wait for a lane, or for who takes them from it.
const AHEAD: usize = 2;
/// How often it is looked whether lanes still get on.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the lanes share.
pub struct Work<'a> {
    pub pictures: &'a Pictures<'a>,
    /// Where the lanes compute.
    pub answers: Option<Answers>,
    pub stop: &'a StopFlag,
}

impl Work<'_> {
    /// Images of a group: a matter of the model and the batch size alone, so that rows do not depend on the host.
    fn group(&self) -> usize {
        let most = self.answers.as_ref().map_or(GROUP, Answers::limit);
        let fitting = GROUP_BYTES / self.pictures.bytes().max(1);
        fitting.clamp(1, GROUP).min(most)
    }
}

type Group = anyhow::Result<Vec<Item>>;

pub struct Lanes<'a> {
    asked: Vec<SyncSender<Vec<ManifestImage>>>,
    made: Vec<Receiver<Group>>,
    group: usize,
    /// Groups that were handed out, and that came back.
    sent: usize,
    taken: usize,
    pulse: &'a mut Pulse,
    getting_on: &'a AtomicU64,
    over: &'a AtomicBool,
}

impl Lanes<'_> {
    /// Starts the lanes, and ends them when `act` is done.
    pub fn run<T>(
        work: &Work,
        count: usize,
        pulse: &mut Pulse,
        act: impl FnOnce(&mut Lanes) -> Result<T, Halt>,
    ) -> Result<T, Halt> {
        let (getting_on, over) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let (mut asked, mut made) = (Vec::new(), Vec::new());
            for number in 0..count {
                let (ask, images) = sync_channel(AHEAD);
                let (give, items) = sync_channel(AHEAD);
                let lane = Lane {
                    pictures: work.pictures,
                    answers: work.answers.as_ref().map(Answers::share),
                    stop: work.stop,
                    over: &over,
                    getting_on: &getting_on,
                };
                thread::Builder::new()
                    .name(format!("lane-{number}"))
                    .spawn_scoped(scope, move || lane.run(&images, &give))
                    .context("a thread cannot be started")?;
                asked.push(ask);
                made.push(items);
            }
            let mut lanes = Lanes {
                asked,
                made,
                group: work.group(),
                sent: 0,
                taken: 0,
                pulse,
                getting_on: &getting_on,
                over: &over,
            };
            // Dropping the lanes' ends of the channels, and with it the flag, ends the threads.
            act(&mut lanes)
        })
    }

    /// The next group; none after the last. Hands out as much as the lanes take meanwhile.
    pub fn next(
        &mut self,
        images: &mut impl Iterator<Item = anyhow::Result<ManifestImage>>,
    ) -> Result<Option<Vec<Item>>, Halt> {
        self.pulse.beat()?;
        while self.sent < self.taken + self.asked.len() * AHEAD {
            let group: Vec<ManifestImage> = images.by_ref().take(self.group).collect::<Result<_, _>>()?;
            if group.is_empty() {
                break;
            }
            let lane = &self.asked[self.sent % self.asked.len()];
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

    /// Says that it is alive as long as lanes get on, whichever they are: a large picture takes its time.
    fn receive(&mut self) -> Result<Group, Halt> {
        let mut before = self.getting_on.load(Ordering::Relaxed);
        loop {
            let lane = &self.made[self.taken % self.made.len()];
            match lane.recv_timeout(LOOK_EVERY) {
                Ok(group) => return Ok(group),
                Err(RecvTimeoutError::Disconnected) => return Err(anyhow::anyhow!("a lane has died").into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = self.getting_on.load(Ordering::Relaxed);
            if now > before {
                self.pulse.tell();
            }
            before = now;
            if self.pulse.is_stopped() {
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
    pictures: &'a Pictures<'a>,
    answers: Option<Answers>,
    stop: &'a StopFlag,
    over: &'a AtomicBool,
    getting_on: &'a AtomicU64,
}

impl Lane<'_> {
    fn run(mut self, images: &Receiver<Vec<ManifestImage>>, made: &SyncSender<Group>) {
        tch::set_num_threads(1);
        while let Ok(group) = images.recv() {
            if made.send(self.make(group)).is_err() {
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
            let seen = match self.pictures.picture(&image)? {
                Ok(pixels) => Seen::Pixels(pixels),
                Err(error) => Seen::Unreadable(error),
            };
            items.push(Item { image, seen });
            self.getting_on.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(answers) = &mut self.answers {
            answers.answer(&mut items)?;
        }
        Ok(items)
    }
}
