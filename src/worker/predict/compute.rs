//! The device's thread: takes what has gathered, carries it through its network, answers.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tch::{Device, Kind, Tensor};

use super::{Options, Place, answer, decode::Picture, models::Models, pipe::Replies, queue::Queue};
use crate::{
    domain::model::PredictionTiming,
    protocol::frames::PredictOutcome,
    worker::{
        fault::{self, TorchFault},
        nets::{Network, input},
    },
};

/// Gets the device ready, so that a child that says it can work does work.
pub(super) fn start(options: &Options) -> anyhow::Result<Place> {
    let place = Place::of(options)?;
    tch::set_num_threads(place.threads as i32);
    Tensor::f_ones([1], (Kind::Float, place.device))
        .and_then(|one| one.f_double_value(&[0]))
        .with_context(|| format!("the device `{}` cannot compute", options.device))?;
    Ok(place)
}

/// Answers until no more pictures come or nobody listens.
///
/// # Errors
/// Where the device is lost: a CUDA error stays for the life of a process, so this one has to end.
pub(super) fn run(
    place: &Place,
    models: &mut Models,
    pictures: &Queue<Picture>,
    replies: &Replies,
) -> anyhow::Result<()> {
    while let Some(batch) = pictures.take_alike(place.max_batch, |a, b| a.model == b.model) {
        if replies.unheard() {
            break;
        }
        answer_all(place, models, &batch, replies)?;
    }
    Ok(())
}

fn answer_all(
    place: &Place,
    models: &mut Models,
    batch: &[Picture],
    replies: &Replies,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    match logits(place.device, models, batch) {
        Ok(logits) => {
            let timing = Timing {
                begun,
                forward: begun.elapsed(),
            };
            answer_each(batch, &logits, &timing, replies);
            Ok(())
        }
        Err(Failure::Torch(TorchFault::OutOfMemory(_))) if batch.len() > 1 => {
            // What did not fit together may fit in halves.
            let (first, second) = batch.split_at(batch.len() / 2);
            answer_all(place, models, first, replies)?;
            answer_all(place, models, second, replies)
        }
        Err(failure) => {
            let message = failure.message();
            for picture in batch {
                let message = message.clone();
                replies.reply(picture.id, PredictOutcome::ModelUnusable { message });
            }
            match failure {
                Failure::Torch(TorchFault::DeviceLost(message)) => bail!("the device is lost: {message}"),
                Failure::Torch(TorchFault::OutOfMemory(_)) => models.clear(),
                _ => {}
            }
            Ok(())
        }
    }
}

/// Why a batch has no logits.
enum Failure {
    Model(String),
    Torch(TorchFault),
}

impl Failure {
    fn message(&self) -> String {
        match self {
            Failure::Model(message) => message.clone(),
            Failure::Torch(fault) => format!("the network could not be computed: {fault}"),
        }
    }
}

/// One row of logits for each picture. The batch is not empty, and all of it is for one model.
fn logits(device: Device, models: &mut Models, batch: &[Picture]) -> Result<Vec<Vec<f32>>, Failure> {
    let first = &batch[0];
    fault::caught(|| {
        let network = models.network(&first.model, &first.card);
        network.map(|network| forward(network, device, batch))
    })
    .map_err(Failure::Torch)?
    .map_err(Failure::Model)
}

/// Panics where libtorch fails.
fn forward(network: &Network, device: Device, batch: &[Picture]) -> Vec<Vec<f32>> {
    let recipe = &batch[0].card.preprocessing;
    let side = i64::from(recipe.crop);
    let rows: Vec<&[u8]> = batch.iter().map(|picture| picture.rgb.as_slice()).collect();
    let bytes = rows.concat();
    let pictures = Tensor::from_data_size(&bytes, &[batch.len() as i64, side, side, 3], Kind::Uint8);
    let logits = network.logits(&input::normalised(&pictures, recipe, device));
    let logits = logits.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let classes = logits.size()[1] as usize;
    let mut values = vec![0f32; logits.numel()];
    let count = values.len();
    logits.copy_data(&mut values, count);
    values.chunks(classes).map(<[f32]>::to_vec).collect()
}

struct Timing {
    begun: Instant,
    forward: Duration,
}

impl Timing {
    fn of(&self, picture: &Picture) -> PredictionTiming {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        let gathering = self.begun.saturating_duration_since(picture.decoded);
        PredictionTiming {
            queue: milliseconds(picture.waited + gathering),
            decode: milliseconds(picture.decoding),
            forward: milliseconds(self.forward),
        }
    }
}

fn answer_each(batch: &[Picture], logits: &[Vec<f32>], timing: &Timing, replies: &Replies) {
    for (picture, logits) in batch.iter().zip(logits) {
        let outcome = match answer::likeliest(logits, &picture.card, picture.top_k) {
            Some(classes) => PredictOutcome::Predicted {
                classes,
                timing: timing.of(picture),
            },
            None => PredictOutcome::ModelUnusable {
                message: "the network's output is not one finite number for each class of the card".into(),
            },
        };
        replies.reply(picture.id, outcome);
    }
}
