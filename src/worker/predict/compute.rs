//! The device's lanes: each takes the images that have gathered, runs the network on them, and replies.
//!
//! A GPU has one lane. A CPU has several, because small batches in parallel, each on one core, waste no time waiting for one another, as
//! threads that share a batch do. The first lane has priority and, while it is alone and nobody waits, all threads: a single image is
//! answered as fast as the host can. That it is always the same one matters: libgomp keeps a pool of threads for each lane that ever had
//! several, and if the pools together have more threads than there are cores, none of them spins, which costs time at every layer.

use std::{
    iter,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, Scope},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tch::{Device, Kind, Tensor};

use super::{
    answer::{self, Computed},
    batch_size::padded_size,
    decode::{DecodedImage, Pixels},
    models::{ModelFault, Models},
    pipe::Replies,
    place::{Options, Place},
    queue::Queue,
    self_test,
};
use crate::worker::autograd::without_gradients;
use crate::{
    domain::models::prediction::PredictionTiming,
    protocol::frames::{PredictOutcome, PredictReply, PredictTask},
    worker::{
        fault::{self, TorchFault},
        nets::{folded::Folded, input, layers::channels_last, vectors},
    },
};

/// Prepares the device, so that a child that reports itself ready really is.
pub(super) fn start(options: &Options) -> anyhow::Result<Place> {
    let place = Place::of(options)?;
    // This thread should not have a pool either.
    tch::set_num_threads(1);
    let tested = fault::caught(|| self_test::run(place.device));
    tested
        .map_err(anyhow::Error::from)
        .and_then(|tested| tested.map_err(anyhow::Error::msg))
        .with_context(|| format!("the device `{}` failed its self-test", options.device))?;
    Ok(place)
}

/// Shared by the lanes.
pub(super) struct Lanes<'a> {
    pub place: &'a Place,
    pub models: &'a Models,
    pub images: &'a Queue<DecodedImage>,
    pub replies: &'a Replies,
    /// Lanes that are computing.
    pub busy: AtomicUsize,
}

impl Lanes<'_> {
    /// Replies until no more images come or the reader is gone.
    ///
    /// # Errors
    /// If the device is lost: a CUDA error persists for the life of a process, so this one has to end.
    pub fn run(&self) -> anyhow::Result<()> {
        thread::scope(|scope| {
            let lane = |number: usize| {
                let name = format!("lane-{number}");
                thread::Builder::new()
                    .name(name)
                    .spawn_scoped(scope, move || self.lane(number, scope))
            };
            let lanes: Result<Vec<_>, _> = (0..self.place.lanes).map(lane).collect();
            if lanes.is_err() {
                self.images.close();
            }
            let mut outcome = Ok(());
            for lane in lanes.context("cannot start a compute thread")? {
                let ended = lane.join();
                let ended = ended.unwrap_or_else(|_| bail!("a compute thread panicked"));
                outcome = outcome.and(ended);
            }
            outcome
        })
    }

    fn lane<'scope>(&'scope self, number: usize, scope: &'scope Scope<'scope, '_>) -> anyhow::Result<()> {
        // However this lane ends, the others must not continue without it.
        let _closing = Closing(self.images);
        without_gradients(|| {
            let most = |waiting| self.place.batch_size.now(waiting, self.place.lanes);
            while let Some(batch) = self.images.take_alike(number, most, DecodedImage::goes_with) {
                if self.replies.unheard() {
                    break;
                }
                let others = self.busy.fetch_add(1, Ordering::SeqCst);
                let answered = self.answer_all(&batch, self.threads(number, others));
                self.busy.fetch_sub(1, Ordering::SeqCst);
                answered?;
                self.models.make_forms(scope);
            }
            Ok(())
        })
    }

    /// How many threads a lane uses now, while this many others compute. Only the first one's pool ever grows large.
    fn threads(&self, number: usize, others: usize) -> usize {
        let lanes = match number {
            0 => (others + 1 + usize::from(!self.images.is_empty())).min(self.place.lanes),
            _ => self.place.lanes,
        };
        (self.place.threads / lanes).max(1)
    }

    fn answer_all(&self, batch: &[DecodedImage], threads: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        tch::set_num_threads(threads as i32);
        match self.compute(batch, threads) {
            Ok(computed) => {
                let timing = Timing {
                    begun,
                    forward: begun.elapsed(),
                };
                self.answer_each(batch, computed, &timing);
                Ok(())
            }
            Err(Failure::Torch(TorchFault::OutOfMemory(_))) if batch.len() > 1 => {
                // What did not fit into memory together may fit in halves.
                let (first, second) = batch.split_at(batch.len() / 2);
                self.answer_all(first, threads)?;
                self.answer_all(second, threads)
            }
            // No reply to those who wait: the end of this process tells the server that they may retry.
            Err(Failure::Torch(lost @ TorchFault::DeviceLost(_))) => Err(lost.into()),
            Err(failure) => {
                let out_of_memory = matches!(failure, Failure::Torch(TorchFault::OutOfMemory(_)));
                let outcome = PredictOutcome::from(failure);
                for image in batch {
                    self.replies.reply(image.id, outcome.clone());
                }
                if out_of_memory {
                    self.models.clear();
                }
                Ok(())
            }
        }
    }

    /// The network's output for each image. The batch is not empty, and all of it is for one model.
    fn compute(&self, batch: &[DecodedImage], threads: usize) -> Result<Vec<Computed>, Failure> {
        let alone = batch.len() == 1 && threads == self.place.threads;
        let first = &batch[0];
        fault::caught(|| {
            let network = self.models.network(&first.model, &first.card, alone);
            network.map(|network| forward(&network, self.place.device, batch))
        })
        .map_err(Failure::Torch)?
        .map_err(Failure::Model)
    }

    fn answer_each(&self, batch: &[DecodedImage], computed: Vec<Computed>, timing: &Timing) {
        let sizes = iter::once(batch.len() as u32).chain(iter::repeat(0));
        for ((image, computed), batch) in batch.iter().zip(computed).zip(sizes) {
            let (outcome, body) = answer::answer(image, computed, timing.of(image));
            let id = image.id;
            self.replies
                .reply_with(&PredictReply { id, batch, outcome }, &body);
        }
    }
}

struct Closing<'a>(&'a Queue<DecodedImage>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Why a batch has no results.
enum Failure {
    Model(ModelFault),
    Torch(TorchFault),
}

impl From<Failure> for PredictOutcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Model(fault) => fault.into(),
            Failure::Torch(fault) => PredictOutcome::ModelUnusable {
                message: format!("the network could not be computed: {fault}"),
            },
        }
    }
}

/// Panics if libtorch fails.
fn forward(network: &Folded, device: Device, batch: &[DecodedImage]) -> Vec<Computed> {
    let input = input_of(batch, device);
    let count = batch.len();
    let own = |padded: Tensor| padded.narrow(0, 0, count as i64);
    let activations = network.activations(&padded(&input, padded_size(count, device)));
    let features = own(network.features(&activations));
    let activations = own(activations);
    let logits = rows(&network.head(&features));
    let mut computed: Vec<Computed> = logits.into_iter().map(Computed::of_logits).collect();
    let wants = |wanted: fn(&PredictTask) -> bool| batch.iter().any(|image| wanted(&image.task));
    if wants(|task| matches!(task, PredictTask::Embed { .. })) {
        for (computed, features) in computed.iter_mut().zip(rows(&vectors(&features))) {
            computed.features = features;
        }
    }
    for (index, image) in batch.iter().enumerate() {
        if let PredictTask::Explain { class } = image.task {
            let class = class.or(computed[index].best()).unwrap_or(0);
            let [image, own] = [&input, &activations].map(|all| all.narrow(0, index as i64, 1));
            computed[index].evidence = rows(&network.evidence(&image, &own, i64::from(class)));
        }
    }
    computed
}

/// The batch with zeros at its end, up to this size.
fn padded(batch: &Tensor, size: usize) -> Tensor {
    let missing = size as i64 - batch.size()[0];
    if missing == 0 {
        return batch.shallow_clone();
    }
    let mut size = batch.size();
    size[0] = missing;
    let padding = channels_last(&batch.new_zeros(size, (batch.kind(), batch.device())));
    Tensor::cat(&[batch, &padding], 0)
}

/// `[N, 3, crop, crop]`, the network's input.
fn input_of(batch: &[DecodedImage], device: Device) -> Tensor {
    let recipe = &batch[0].card.preprocessing;
    let (count, side) = (batch.len() as i64, i64::from(recipe.crop));
    let mut bytes = Vec::new();
    let mut floats = Vec::new();
    for image in batch {
        match &image.pixels {
            Pixels::Rgb(rgb) => bytes.extend_from_slice(rgb),
            Pixels::Normalised(values) => floats.extend_from_slice(values),
        }
    }
    if floats.is_empty() {
        let images = Tensor::from_data_size(&bytes, &[count, side, side, 3], Kind::Uint8);
        return input::normalised(&images, recipe, device);
    }
    let images = Tensor::from_slice(&floats).view([count, 3, side, side]);
    channels_last(&images.to_device(device))
}

/// The rows of a matrix on any device.
fn rows(matrix: &Tensor) -> Vec<Vec<f32>> {
    let matrix = matrix.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let columns = matrix.size()[1] as usize;
    let mut values = vec![0f32; matrix.numel()];
    let count = values.len();
    matrix.copy_data(&mut values, count);
    values.chunks(columns).map(<[f32]>::to_vec).collect()
}

struct Timing {
    begun: Instant,
    forward: Duration,
}

impl Timing {
    fn of(&self, image: &DecodedImage) -> PredictionTiming {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        let gathering = self.begun.saturating_duration_since(image.decoded);
        PredictionTiming {
            queue: milliseconds(image.waited + gathering),
            decode: milliseconds(image.decoding),
            forward: milliseconds(self.forward),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::golden::golden_image, *};
    use crate::{domain::architecture::Architecture, worker::nets::Network};

    #[test]
    fn what_is_padded_answers_as_what_is_not() {
        let network = Network::drawn(Architecture::Resnet20, 4, 7, Device::Cpu);
        let folded = Folded::of(&network, Kind::Float, Device::Cpu);
        let images = golden_image(5, 32);
        let larger = padded(&images, 8);
        assert_eq!(larger.size(), [8, 3, 32, 32]);
        assert_eq!(larger.stride()[1], 1, "its channels are innermost");
        let (alone, together) = (folded.logits(&images), folded.logits(&larger).narrow(0, 0, 5));
        assert!((alone - together).abs().max().double_value(&[]) < 1e-4);
        assert!(padded(&images, 5).equal(&images));
    }
}
