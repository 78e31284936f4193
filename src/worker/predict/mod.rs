//! The long-lived child that answers predictions: frames in on stdin, frames out on stdout, networks loaded in between.
//!
//! ```text
//! stdin -> reader -> [requests] -> decoders -> [images] -> the device's lanes -> stdout
//! ```
//! Both queues are bounded, so a server that sends requests faster than this host computes is held back by the pipe itself. While the
//! device computes, images gather; the next batch is whatever has gathered, up to a limit. No timer: an idle device takes a single image at
//! once. Nothing here may let one request affect another: every request that was read gets exactly one reply.

mod answer;
mod batch_size;
mod compute;
mod decode;
mod forms;
mod golden;
mod lru;
mod models;
mod overlay;
mod pipe;
mod place;
mod queue;
mod request;
mod self_test;
#[cfg(test)]
mod tests;

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex, atomic::AtomicUsize},
    thread,
};

use anyhow::Context;

use crate::protocol::frames::Ready;

use self::{compute::Lanes, decode::Decoder, models::Models, pipe::Replies, queue::Queue};

pub use self::place::Options;
use self::request::Request;
// Batch predictions compute as this child does.
pub(in crate::worker) use self::{answer::likeliest, forms::packed};

/// Replies until `input` ends and everything read from it is answered, or until nobody reads `output`.
///
/// # Errors
/// If the device cannot be used or is lost, or the other side violates the protocol.
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
    let images = Arc::new(Queue::bounded(place.lanes.max(2) * place.batch_size.most));
    let broken = read_on_a_thread(input, requests.clone());
    let decoder = Arc::new(Decoder::new(requests.clone(), images.clone(), replies.clone()));
    for number in 0..place.threads {
        let decoder = decoder.clone();
        thread::Builder::new()
            .name(format!("decode-{number}"))
            .spawn(move || decoder.run())
            .context("cannot start a decoding thread")?;
    }
    // The images' queue ends when the last decoder is dropped.
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
        images: &images,
        replies: &replies,
        busy: AtomicUsize::new(0),
    };
    let outcome = lanes.run();
    // If nobody reads the output any more, the other threads have nothing to wait for.
    requests.close();
    images.close();
    outcome?;
    match broken.lock().ok().and_then(|mut fault| fault.take()) {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

/// The request that the reader could not parse, if any; to be checked when all queues have ended.
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
