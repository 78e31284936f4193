//! The decoding threads: from the bytes of a request to the pixels that its model sees, or to a reply that says why not.

use std::{
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Request, lru::Lru, pipe::Replies, queue::Queue};
use crate::{
    domain::model::ModelCard,
    protocol::frames::{ModelFiles, PredictOutcome},
    worker::{bundle, pixels},
};

/// Cards that are kept in memory.
const MAX_CARDS: u64 = 256;

/// A picture that is ready for its network.
pub(super) struct Picture {
    pub id: u64,
    pub model: ModelFiles,
    pub card: Arc<ModelCard>,
    pub top_k: u32,
    /// `crop` rows of `crop` pixels, red, green, blue.
    pub rgb: Vec<u8>,
    /// Before decoding.
    pub waited: Duration,
    pub decoding: Duration,
    pub decoded: Instant,
}

/// Shared by the decoding threads; when the last lets go of it, no more pictures come.
pub(super) struct Decoder {
    requests: Arc<Queue<Request>>,
    pictures: Arc<Queue<Picture>>,
    replies: Arc<Replies>,
    cards: Mutex<Lru<PathBuf, Arc<ModelCard>>>,
}

impl Decoder {
    pub fn new(requests: Arc<Queue<Request>>, pictures: Arc<Queue<Picture>>, replies: Arc<Replies>) -> Self {
        Self {
            requests,
            pictures,
            replies,
            cards: Mutex::new(Lru::new(MAX_CARDS)),
        }
    }

    /// Works until no more requests come.
    pub fn run(&self) {
        while let Some(request) = self.requests.take() {
            let id = request.header.id;
            // The decoders of files guard themselves; this is for all else, so that no request is left without a reply.
            let picture = panic::catch_unwind(AssertUnwindSafe(|| self.prepare(request)));
            match picture {
                Ok(Ok(picture)) => self.pictures.push(picture),
                Ok(Err(outcome)) => self.replies.reply(id, outcome),
                Err(_) => {
                    let message = "the image cannot be read".to_owned();
                    self.replies.reply(id, PredictOutcome::InvalidImage { message });
                }
            }
        }
    }

    fn prepare(&self, request: Request) -> Result<Picture, PredictOutcome> {
        let begun = Instant::now();
        let Request {
            header,
            body,
            arrived,
        } = request;
        let card = self.card(&header.model.card)?;
        let picture = pixels::prepare(&body, &card.preprocessing, header.max_pixels).map_err(|fault| {
            let message = fault.to_string();
            if fault.is_unsupported() {
                PredictOutcome::UnsupportedImage { message }
            } else {
                PredictOutcome::InvalidImage { message }
            }
        })?;
        Ok(Picture {
            id: header.id,
            model: header.model,
            card,
            top_k: header.top_k,
            rgb: picture.rgb,
            waited: begun - arrived,
            decoding: begun.elapsed(),
            decoded: Instant::now(),
        })
    }

    fn card(&self, path: &Path) -> Result<Arc<ModelCard>, PredictOutcome> {
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        let key = path.to_owned();
        if let Some(card) = cards.get(&key) {
            return Ok(card.clone());
        }
        let card = bundle::read_card(path).map_err(|fault| PredictOutcome::ModelUnusable {
            message: fault.to_string(),
        })?;
        Ok(cards.insert(key, Arc::new(card), 1).clone())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.pictures.close();
    }
}
