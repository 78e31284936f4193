//! The long-lived child that answers predictions: frames in on stdin, frames out on stdout, networks held in between.
//!
//! ```text
//! stdin -> reader -> [requests] -> decoders -> [pictures] -> the device's lanes -> stdout
//! ```
//! Both queues are bounded, so a server that asks faster than this host computes is held back by the pipe itself. While the device
//! computes, pictures gather; the next batch is whatever has gathered, up to a limit. No timer: an idle device takes a lone picture at
//! once. Nothing here may let one request hurt another: every request that was read gets exactly one reply.

mod answer;
mod compute;
mod decode;
mod lru;
mod models;
mod overlay;
mod pipe;
mod queue;
mod self_test;
#[cfg(test)]
mod tests;

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex, atomic::AtomicUsize},
    thread,
    time::Instant,
};

use anyhow::Context;

use crate::{
    protocol::frames::{PredictRequest, Ready},
    worker::device,
};

use self::{compute::Lanes, decode::Decoder, models::Models, pipe::Replies, queue::Queue};

// Batch predictions answer as this child does.
pub(in crate::worker) use self::{
    answer::likeliest,
    models::{folded, packed},
};

/// What a predict child is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Threads of arithmetic, and as many that decode; 0 means all cores.
    pub threads: u32,
    /// Most pictures that go through a network at once.
    pub max_batch: Option<usize>,
    /// Memory that networks may hold together.
    pub model_bytes: Option<u64>,
}

/// Each lane holds the activations of a batch.
const MAX_LANES: usize = 8;

/// One request as it came.
struct Request {
    header: PredictRequest,
    body: Vec<u8>,
    arrived: Instant,
}

/// Answers until `input` ends and everything read from it is answered, or until nobody reads `output`.
///
/// # Errors
/// Where the device cannot be used, or is lost on the way, or the other side does not speak the protocol.
pub fn run(
    options: &Options,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> anyhow::Result<()> {
    let place = compute::start(options)?;
    let replies = Arc::new(Replies::to(output));
    replies.ready(&Ready {
        device: options.device.clone(),
    });
    let requests = Arc::new(Queue::bounded(place.threads));
    let pictures = Arc::new(Queue::bounded(place.lanes.max(2) * place.batch_size.most));
    let broken = read_on_a_thread(input, requests.clone());
    let decoder = Arc::new(Decoder::new(requests.clone(), pictures.clone(), replies.clone()));
    for number in 0..place.threads {
        let decoder = decoder.clone();
        thread::Builder::new()
            .name(format!("decode-{number}"))
            .spawn(move || decoder.run())
            .context("a decoding thread cannot be started")?;
    }
    // The pictures' queue ends once the last decoder lets go of it.
    drop(decoder);
    let models = Models::new(
        place.device,
        place.model_bytes,
        place.batch_size.most,
        place.threads,
    );
    let lanes = Lanes {
        place: &place,
        models: &models,
        pictures: &pictures,
        replies: &replies,
        busy: AtomicUsize::new(0),
    };
    let outcome = lanes.run();
    // Where nobody listens any more, the other threads have nothing to wait for.
    requests.close();
    pictures.close();
    outcome?;
    match broken.lock().ok().and_then(|mut fault| fault.take()) {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

/// What the reader could not understand, if anything; to be looked at when all queues have ended.
type Broken = Arc<Mutex<Option<anyhow::Error>>>;

fn read_on_a_thread(input: impl Read + Send + 'static, requests: Arc<Queue<Request>>) -> Broken {
    let broken = Broken::default();
    let told = broken.clone();
    thread::spawn(move || {
        let outcome = pipe::read_all(input, |request| requests.push(request));
        if let (Err(fault), Ok(mut told)) = (outcome, told.lock()) {
            *told = Some(fault);
        }
        requests.close();
    });
    broken
}

/// Where and how this child computes: [`Options`] with everything decided.
struct Place {
    device: tch::Device,
    threads: usize,
    /// Batches that are computed side by side.
    lanes: usize,
    batch_size: BatchSize,
    model_bytes: u64,
}

/// How many pictures go through a network at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BatchSize {
    /// A processor computes four pictures at once nearly as fast as more, and whoever waits waits less long.
    usual: usize,
    /// Where so many wait that one more batch makes no difference to them, those few per cent count.
    most: usize,
}

impl BatchSize {
    fn up_to(most: usize) -> Self {
        Self { usual: most, most }
    }

    /// While `waiting` pictures are ready, for as many lanes.
    fn now(self, waiting: usize, lanes: usize) -> usize {
        match waiting >= lanes * self.most {
            true => self.most,
            false => self.usual,
        }
    }
}

impl Place {
    fn of(options: &Options) -> anyhow::Result<Self> {
        let device = device::parse(&options.device).map_err(anyhow::Error::msg)?;
        let known = device::list();
        let known = known.iter().find(|known| known.name == options.device);
        let threads = match (options.threads, known) {
            (0, Some(known)) => known.threads,
            (threads, _) => threads,
        };
        let memory = known.map_or(0, |known| known.memory_bytes);
        // A card's memory is for networks and what runs through them; a host's is shared with everything else on it.
        let share = if device.is_cuda() { memory / 2 } else { memory / 4 };
        let threads = threads.max(1) as usize;
        let batch_size = match options.max_batch {
            Some(most) => BatchSize::up_to(most.max(1)),
            None if device.is_cuda() => BatchSize::up_to(32),
            None => BatchSize { usual: 4, most: 8 },
        };
        Ok(Self {
            device,
            threads,
            lanes: if device.is_cuda() {
                1
            } else {
                threads.min(MAX_LANES)
            },
            batch_size,
            model_bytes: options.model_bytes.unwrap_or(share.max(1 << 30)),
        })
    }
}
