//! The server's side of predictions: admission, deadlines, and the one long-lived child that has the models in memory.
//!
//! `http` calls [`Inference::predict`]. A request either gets a place at once or is refused at once; a caller that leaves frees its
//! place, and its late answer goes nowhere. `host` starts the child with the first request and again after its death, `session`
//! is the life of one child, `wire` its pipes. Nothing here looks into an image or a model.

mod host;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    host::Host,
    session::{Refusal, Request},
};
use crate::{
    blobs::Blobs,
    domain::model::{ClassProbability, Model, PredictionTiming},
    error::{Error, Kind, Result},
    limits::Limits,
    process::log,
    protocol::{
        Device,
        frames::{self, ModelFiles, PredictOutcome},
    },
    store::Store,
};

/// Longest text of the worker that a caller sees, in characters.
const MAX_DETAIL: usize = 300;

/// What predictions need of the server.
pub struct InferenceContext {
    /// The worker program.
    pub worker: PathBuf,
    /// The child's folder and log are made in it.
    pub data_dir: PathBuf,
    /// Empty until they are known; the first GPU is used, or else the first device.
    pub devices: watch::Receiver<Vec<Device>>,
    /// Threads of arithmetic; 0 means all cores.
    pub threads: u32,
    pub limits: Limits,
    pub store: Store,
    pub blobs: Blobs,
    /// When it fires new requests are refused, the child answers what it has, and leaves.
    pub shutdown: CancellationToken,
}

/// Predictions of a server. Cheap to clone.
#[derive(Clone)]
pub struct Inference(Arc<Shared>);

struct Shared {
    store: Store,
    blobs: Blobs,
    limits: Limits,
    places: Semaphore,
    requests: mpsc::Sender<Request>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// An answer of a model about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The likeliest classes, likeliest first.
    pub classes: Vec<ClassProbability>,
    pub timing: PredictionTiming,
}

impl Inference {
    /// Call it in a tokio runtime; the child itself is started with the first request.
    pub fn start(context: InferenceContext) -> Self {
        let places = context.limits.max_predict_queue;
        let (requests, waiting) = mpsc::channel(places.max(1));
        let shared = Shared {
            store: context.store.clone(),
            blobs: context.blobs.clone(),
            limits: context.limits.clone(),
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            requests,
            shutdown: context.shutdown.clone(),
            tasks: TaskTracker::new(),
        };
        shared.tasks.spawn(Host::new(context).run(waiting));
        shared.tasks.close();
        Self(Arc::new(shared))
    }

    /// Asks a model about one image file; the answer has at most `top_k` classes.
    ///
    /// # Errors
    /// `inference-queue-full`, `inference-timeout`, `model-unavailable`, `model-unusable`, `image-unsupported`, `image-invalid`,
    /// `too-large`, and what the store says of the model.
    pub async fn predict(&self, model: &Model, image: Bytes, top_k: u32) -> Result<Prediction> {
        let shared = &*self.0;
        if shared.shutdown.is_cancelled() {
            return Err(leaving());
        }
        // Held until this call ends or is dropped.
        let _place = shared.places.try_acquire().map_err(|_| queue_full())?;
        let deadline = Instant::now() + shared.limits.predict_deadline();
        let largest = (frames::MAX_BODY as usize).min(shared.limits.max_predict_bytes);
        if image.len() > largest {
            let detail = format!("an image may have {largest} bytes, this one has {}", image.len());
            return Err(Error::new(Kind::TooLarge, "too-large", detail));
        }
        match timeout_at(deadline, shared.ask(model, image, top_k, deadline)).await {
            Ok(answer) => prediction(answer?),
            Err(_) => Err(too_late(shared.limits.predict_deadline())),
        }
    }

    /// Returns when, after `shutdown` has fired, the child is gone.
    pub async fn drained(&self) {
        self.0.tasks.wait().await;
    }
}

impl Shared {
    async fn ask(
        &self,
        model: &Model,
        image: Bytes,
        top_k: u32,
        deadline: Instant,
    ) -> Result<PredictOutcome> {
        let blobs = self.store.model_blobs(model.id).await?;
        let path = |digest: &str| {
            let path = self.blobs.path(digest);
            std::path::absolute(&path).unwrap_or(path)
        };
        let (reply, answer) = oneshot::channel();
        let request = Request {
            model: ModelFiles {
                weights: path(&blobs.weights),
                card: path(&blobs.card),
                sha256: blobs.weights,
            },
            top_k: top_k.max(1),
            max_pixels: self.limits.ingest.max_image_pixels,
            image,
            deadline,
            reply,
        };
        self.requests.send(request).await.map_err(|_| leaving())?;
        match answer.await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(Refusal::TooLate)) => Err(too_late(self.limits.predict_deadline())),
            Ok(Err(Refusal::ComeBack(delay))) => Err(unavailable(delay)),
            Err(_) => Err(leaving()),
        }
    }
}

fn prediction(outcome: PredictOutcome) -> Result<Prediction> {
    match outcome {
        PredictOutcome::Predicted { classes, timing } => Ok(Prediction { classes, timing }),
        PredictOutcome::UnsupportedImage { message } => Err(Error::new(
            Kind::UnsupportedMedia,
            "image-unsupported",
            detail(&message),
        )),
        PredictOutcome::InvalidImage { message } => {
            Err(Error::new(Kind::Invalid, "image-invalid", detail(&message)))
        }
        PredictOutcome::ModelUnusable { message } => {
            let detail =
                "the model cannot be used on this server; its operator finds the reason in the server's log";
            Err(Error::new(Kind::Unavailable, "model-unusable", detail)
                .with_context(anyhow::anyhow!(message)))
        }
    }
}

fn detail(message: &str) -> String {
    log::harmless(message.as_bytes())
        .chars()
        .take(MAX_DETAIL)
        .collect()
}

fn queue_full() -> Error {
    let detail = "as many predictions are waiting as the server allows; try again in a moment";
    Error::new(Kind::TooMany, "inference-queue-full", detail).retry_after(Duration::from_secs(1))
}

fn too_late(allowed: Duration) -> Error {
    let detail = format!("there was no answer within {} s", allowed.as_secs());
    Error::new(Kind::Timeout, "inference-timeout", detail)
}

fn unavailable(delay: Duration) -> Error {
    let detail = "the process that has the models in memory broke down and is being started again; try again in a moment";
    Error::new(Kind::Unavailable, "model-unavailable", detail).retry_after(delay.max(Duration::from_secs(1)))
}

fn leaving() -> Error {
    let detail = "the server is stopping; try again when it is back";
    Error::new(Kind::Unavailable, "draining", detail).retry_after(Duration::from_secs(5))
}
