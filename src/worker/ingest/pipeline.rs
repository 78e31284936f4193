//! Pass two: the images themselves. One thread reads the archive, several decode, the caller stores, in the order of the archive.
//!
//! ```text
//! reader --jobs--> decoders            at most QUEUE_DEPTH x threads jobs wait
//!    \--order--> caller <--result--/   at most IN_FLIGHT x threads images are on their way
//! ```
//! The order queue contains, for each image, the channel on which its result will arrive: so results are taken in order whoever finishes
//! first, and the stored files do not depend on the number of threads. Two budgets limit the bytes: files in flight, and memory of
//! decoders.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use anyhow::{Context, anyhow, ensure};

use super::{
    archive::{self, Contents, Gauge},
    budget::Budget,
    names::{
        entry::{Disposition, ListedEntry},
        listing::DAMAGED,
    },
    pulse::Heartbeat,
};
use crate::{
    domain::models::preprocessing::{Interpolation, UsedBits},
    files::digest,
    limits::IngestLimits,
    worker::pixels::{self, DecodeFault, Fingerprint, Image, Mode},
};

/// Images in flight, and those of them that wait for a decoder, per thread: enough that a stalled thread, for example one waiting for the
/// disk, does not stop the others.
const IN_FLIGHT: usize = 32;
const QUEUE_DEPTH: usize = 8;
/// Most bytes of image files in flight.
const MAX_FILE_BYTES: u64 = 128 << 20;
/// Most bytes that decoders use at once, estimated.
pub const MAX_DECODING_BYTES: u64 = 768 << 20;

/// A usable image.
pub struct Decoded {
    /// The file.
    pub bytes: Vec<u8>,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Size of the whole image, upright.
    pub width: u32,
    pub height: u32,
    /// The pixels for the pack.
    pub packed: Image,
    pub mode: Mode,
    /// The largest value of a 16-bit image.
    pub largest: Option<u16>,
    pub fingerprint: Fingerprint,
}

/// What happened to a candidate.
pub type Outcome = Result<Decoded, Disposition>;

/// What to read and how.
pub struct Pipeline<'a> {
    pub archive: &'a Path,
    pub limits: &'a IngestLimits,
    pub threads: usize,
    pub pack_side: u32,
    /// How many bits of 16-bit images count.
    pub used_bits: UsedBits,
    pub entries: &'a [ListedEntry],
    pub heartbeat: &'a Heartbeat<'a>,
}

struct Job {
    bytes: Vec<u8>,
    result: SyncSender<Outcome>,
}

struct Pending {
    index: usize,
    file_bytes: u64,
    result: Receiver<Outcome>,
}

impl Pipeline<'_> {
    /// Calls `store` with the index and the outcome of every file that is to be read, in the order of the archive.
    pub fn run(&self, store: &mut dyn FnMut(usize, Outcome) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let threads = self.threads.max(1);
        let files = Budget::new(MAX_FILE_BYTES);
        let decoding = Budget::new(MAX_DECODING_BYTES);
        let (jobs, waiting_jobs) = sync_channel::<Job>(threads * QUEUE_DEPTH);
        let (order, in_order) = sync_channel::<Pending>(threads * IN_FLIGHT);
        let waiting_jobs = Mutex::new(waiting_jobs);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.decode_all(&waiting_jobs, &decoding));
            }
            let reader = scope.spawn(|| self.read_all(jobs, order, &files));
            let stored = self.store_all(in_order, &files, store);
            files.close();
            let read = reader
                .join()
                .map_err(|_| anyhow!("reading the archive failed unexpectedly"))?;
            stored.and(read)
        })
    }

    /// Fails if the other end is gone, which has the reason.
    fn read_all(
        &self,
        jobs: SyncSender<Job>,
        order: SyncSender<Pending>,
        files: &Budget,
    ) -> anyhow::Result<()> {
        let gauge = Gauge::new(self.limits, self.heartbeat);
        let mut next = 0;
        archive::visit(self.archive, &gauge, &mut |entry| {
            let index = next;
            next += 1;
            let listed = self
                .entries
                .get(index)
                .context("the archive changed while it was read")?;
            if !listed.is_read() {
                return Ok(());
            }
            let contents = entry.contents()?;
            let file_bytes = match &contents {
                Contents::Whole(bytes) => bytes.len() as u64,
                Contents::TooLarge | Contents::Damaged => 0,
            };
            let (result, pending) = sync_channel(1);
            let pending = Pending {
                index,
                file_bytes,
                result: pending,
            };
            let taken = files.take(file_bytes)
                && self.dispatch(contents, result, &jobs)
                && order.send(pending).is_ok();
            ensure!(taken, "the receiver of the images is gone");
            Ok(())
        })
    }

    /// False if the receiver is gone.
    fn dispatch(&self, contents: Contents, result: SyncSender<Outcome>, jobs: &SyncSender<Job>) -> bool {
        match contents {
            Contents::Whole(bytes) => jobs.send(Job { bytes, result }).is_ok(),
            Contents::TooLarge => {
                let message = format!(
                    "the file has more than {} bytes; make it smaller",
                    self.limits.max_file_bytes
                );
                result
                    .send(Err(Disposition::skipped("too_large", message)))
                    .is_ok()
            }
            Contents::Damaged => result.send(Err(Disposition::skipped("damaged", DAMAGED))).is_ok(),
        }
    }

    fn decode_all(&self, jobs: &Mutex<Receiver<Job>>, memory: &Budget) {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { bytes, result }) = job else {
                return;
            };
            let outcome = self
                .decode(bytes, memory)
                .map_err(|fault| Disposition::undecoded(&fault));
            // If the run has already ended, nobody waits for it.
            let _ = result.send(outcome);
        }
    }

    fn decode(&self, bytes: Vec<u8>, memory: &Budget) -> Result<Decoded, DecodeFault> {
        let most = self.limits.max_image_pixels;
        let header = pixels::Header::read(&bytes, most)?;
        let needed = header.memory();
        // This budget is never closed: whoever holds a part of it waits for nothing else and releases it.
        let _ = memory.take(needed);
        let decoded = header.decode(self.used_bits).map(|decoded| {
            let pixels::Decoded {
                image,
                width,
                height,
                mode,
                largest,
            } = decoded;
            (
                width,
                height,
                pixels::pack(image, self.pack_side, Interpolation::Bilinear),
                mode,
                largest,
            )
        });
        memory.give_back(needed);
        let (width, height, packed, mode, largest) = decoded?;
        Ok(Decoded {
            fingerprint: Fingerprint::of(&packed),
            mode,
            largest,
            sha256: digest::of_bytes(&bytes),
            bytes,
            width,
            height,
            packed,
        })
    }

    fn store_all(
        &self,
        in_order: Receiver<Pending>,
        files: &Budget,
        store: &mut dyn FnMut(usize, Outcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for pending in in_order {
            let outcome = pending
                .result
                .recv()
                .map_err(|_| anyhow!("decoding an image failed unexpectedly"))?;
            self.heartbeat.beat()?;
            store(pending.index, outcome)?;
            files.give_back(pending.file_bytes);
        }
        Ok(())
    }
}
