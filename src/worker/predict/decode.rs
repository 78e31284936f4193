//! The decoding threads: from the bytes of a request to the network's input, or to an error reply.

use std::{
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{lru::Lru, models::ModelFault, pipe::Replies, queue::Queue, request::Request};
use crate::{
    domain::models::model::ModelCard,
    protocol::frames::{ModelFiles, PredictInput, PredictOutcome, PredictTask},
    worker::{files::bundle, pixels},
};

/// Number of cards kept in memory.
const MAX_CARDS: u64 = 256;

/// An image that is ready for its network.
pub(super) struct DecodedImage {
    pub id: u64,
    pub model: ModelFiles,
    pub card: Arc<ModelCard>,
    pub task: PredictTask,
    pub pixels: Pixels,
    /// Before decoding.
    pub waited: Duration,
    pub decoding: Duration,
    pub decoded: Instant,
}

/// A network's input for an image.
pub(super) enum Pixels {
    /// `crop` rows of `crop` pixels, red, green, blue.
    Rgb(Vec<u8>),
    /// `[3, crop, crop]`, preprocessed.
    Normalised(Vec<f32>),
}

impl DecodedImage {
    /// Whether two images can be in the same batch.
    pub fn goes_with(&self, other: &Self) -> bool {
        let same_kind = matches!(self.pixels, Pixels::Rgb(_)) == matches!(other.pixels, Pixels::Rgb(_));
        same_kind && self.model == other.model
    }

    /// Its pixels, if it came as an image.
    pub fn rgb(&self) -> Option<&[u8]> {
        match &self.pixels {
            Pixels::Rgb(rgb) => Some(rgb),
            Pixels::Normalised(_) => None,
        }
    }
}

/// Shared by the decoding threads; when the last one drops it, no more images come.
pub(super) struct Decoder {
    requests: Arc<Queue<Request>>,
    images: Arc<Queue<DecodedImage>>,
    replies: Arc<Replies>,
    cards: Mutex<Lru<PathBuf, Arc<ModelCard>>>,
}

impl Decoder {
    pub fn new(
        requests: Arc<Queue<Request>>,
        images: Arc<Queue<DecodedImage>>,
        replies: Arc<Replies>,
    ) -> Self {
        Self {
            requests,
            images,
            replies,
            cards: Mutex::new(Lru::new(MAX_CARDS)),
        }
    }

    /// Works until no more requests come.
    pub fn run(&self) {
        while let Some(request) = self.requests.take() {
            let id = request.header.id;
            // Image decoders guard against bad input; this is for everything else, so that no request is left without a reply.
            let image = panic::catch_unwind(AssertUnwindSafe(|| self.prepare(request)));
            match image {
                Ok(Ok(image)) => self.images.push(image),
                Ok(Err(outcome)) => self.replies.reply(id, outcome),
                Err(_) => {
                    let message = "the image cannot be read".to_owned();
                    self.replies.reply(id, PredictOutcome::InvalidImage { message });
                }
            }
        }
    }

    fn prepare(&self, request: Request) -> Result<DecodedImage, PredictOutcome> {
        let begun = Instant::now();
        let Request {
            header,
            body,
            arrived,
        } = request;
        let card = self.card(&header.model)?;
        check_task(header.task, header.input, &card)?;
        let pixels = match header.input {
            PredictInput::Image => Pixels::Rgb(decoded(&body, &card, header.max_pixels)?),
            PredictInput::Tensor => Pixels::Normalised(tensor(&body, &card)?),
        };
        Ok(DecodedImage {
            id: header.id,
            model: header.model,
            card,
            task: header.task,
            pixels,
            waited: begun - arrived,
            decoding: begun.elapsed(),
            decoded: Instant::now(),
        })
    }

    fn card(&self, files: &ModelFiles) -> Result<Arc<ModelCard>, PredictOutcome> {
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        let key = files.card.clone();
        if let Some(card) = cards.get(&key) {
            return Ok(card.clone());
        }
        let card = bundle::read_card(files).map_err(ModelFault::from)?;
        Ok(cards.insert(key, Arc::new(card), 1).clone())
    }
}

fn decoded(body: &[u8], card: &ModelCard, max_pixels: u64) -> Result<Vec<u8>, PredictOutcome> {
    let image = pixels::prepare(body, &card.preprocessing, max_pixels);
    image.map(|image| image.rgb).map_err(|fault| {
        let message = fault.to_string();
        if fault.is_unsupported() {
            PredictOutcome::UnsupportedImage { message }
        } else {
            PredictOutcome::InvalidImage { message }
        }
    })
}

/// Numbers that are not finite would produce an invalid output, and the model would seem to be at fault.
fn tensor(body: &[u8], card: &ModelCard) -> Result<Vec<f32>, PredictOutcome> {
    let side = card.preprocessing.crop as usize;
    let words = body.chunks_exact(4);
    let whole = words.remainder().is_empty() && words.len() == 3 * side * side;
    let values: Vec<f32> = words
        .map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    if !whole {
        let message = format!("the tensor does not have the shape [3, {side}, {side}] of 32-bit floats");
        return Err(PredictOutcome::InvalidImage { message });
    }
    if values.iter().any(|value| !value.is_finite()) {
        let message = "the tensor contains numbers that are not finite".to_owned();
        return Err(PredictOutcome::InvalidImage { message });
    }
    Ok(values)
}

fn check_task(task: PredictTask, input: PredictInput, card: &ModelCard) -> Result<(), PredictOutcome> {
    let PredictTask::Explain { class } = task else {
        return Ok(());
    };
    let message = match class {
        Some(class) if class as usize >= card.classes.len() => {
            format!("the model has no class {class}")
        }
        _ if input == PredictInput::Tensor => "a tensor has no image to draw on".to_owned(),
        _ => return Ok(()),
    };
    Err(PredictOutcome::InvalidImage { message })
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.images.close();
    }
}
