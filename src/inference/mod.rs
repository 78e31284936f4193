//! The server's side of predictions: admission, deadlines, and the one long-lived child that has the models in memory.
//!
//! `http` calls [`Inference::predict`] and its likes. A request either gets a place at once or is refused at once; a caller that leaves frees its
//! place, and its late answer goes nowhere. `host` starts the child with the first request and again after its death, `session`
//! is the life of one child, `shown` the models that it can read, `wire` its pipes. Nothing here looks into an image or a model.

mod context;
mod devices;
mod host;
mod session;
mod shown;
mod tally;
#[cfg(test)]
mod tests;
mod wire;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prometheus_client::metrics::histogram::Histogram;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{context::InferenceContext, devices::ServingDevice, tally::ModelCounts};
use self::{
    devices::Serving,
    host::Host,
    session::{Answer, Refusal, Request},
    tally::{Batches, Tally},
};
use crate::{
    blobs::Blobs,
    domain::{
        damage::Damaged,
        models::{
            model::Model,
            prediction::{ClassProbability, PredictionTiming},
        },
    },
    error::{Error, Kind, Result},
    limits::Limits,
    process::log,
    protocol::frames::{self, ModelFiles, PredictInput, PredictOutcome, PredictTask},
};

/// Longest text of the worker that a caller sees, in characters.
const MAX_DETAIL: usize = 300;
/// Models that are warmed up at once; others wait for their turn. Each needs memory that answers could use.
const WARMING: usize = 2;

/// Predictions of a server. Cheap to clone.
#[derive(Clone)]
pub struct Inference(Arc<Shared>);

struct Shared {
    blobs: Blobs,
    limits: Limits,
    places: Semaphore,
    tally: Tally,
    batches: Batches,
    serving: Serving,
    warming: Semaphore,
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

impl Prediction {
    /// Of a model of several labels: those that the image shows, likeliest first.
    pub fn predicted_labels(&self) -> Option<Vec<String>> {
        let several = self.classes.iter().any(|class| class.predicted.is_some());
        let shown = self.classes.iter().filter(|class| class.predicted == Some(true));
        several.then(|| shown.map(|class| class.label.clone()).collect())
    }
}

/// The feature vector of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    pub values: Vec<f32>,
    pub timing: PredictionTiming,
}

/// Where a class is seen in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub class: ClassProbability,
    pub png: Bytes,
    pub timing: PredictionTiming,
}

/// What a model is asked about.
#[derive(Clone, Debug)]
pub enum ModelInput {
    /// An image file.
    File(Bytes),
    /// What the network sees: `[3, crop, crop]`, 32-bit floats, little-endian, normalised as the model's card says.
    Tensor(Bytes),
}

impl From<Bytes> for ModelInput {
    fn from(file: Bytes) -> Self {
        ModelInput::File(file)
    }
}

impl Inference {
    /// Call it in a tokio runtime; the child itself is started with the first request.
    pub fn start(context: InferenceContext) -> Self {
        let places = context.limits.max_predict_queue;
        let (requests, waiting) = mpsc::channel(places.max(1));
        let (serving, batches) = (Serving::default(), Batches::default());
        let shared = Shared {
            blobs: context.blobs.clone(),
            limits: context.limits.clone(),
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            tally: Tally::default(),
            batches: batches.clone(),
            serving: serving.clone(),
            warming: Semaphore::new(WARMING),
            requests,
            shutdown: context.shutdown.clone(),
            tasks: TaskTracker::new(),
        };
        shared
            .tasks
            .spawn(Host::new(context, serving, batches).run(waiting));
        shared.tasks.close();
        Self(Arc::new(shared))
    }

    /// Where answers are computed.
    pub fn device(&self) -> ServingDevice {
        self.0.serving.now()
    }

    /// Asks a model about one image; the answer has at most `top_k` classes.
    ///
    /// # Errors
    /// `inference-queue-full`, `inference-timeout`, `model-unavailable`, `model-unusable`, `data-damaged`, `image-unsupported`, `image-invalid`,
    /// `too-large`, and what the store says of the model. The same for all that is asked. Also `no-head`.
    pub async fn predict(
        &self,
        model: &Model,
        input: impl Into<ModelInput>,
        top_k: u32,
    ) -> Result<Prediction> {
        must_classify(model)?;
        let task = PredictTask::Classify { top_k: top_k.max(1) };
        match self.ask(model, input.into(), task).await? {
            (PredictOutcome::Predicted { classes, timing }, _) => Ok(Prediction { classes, timing }),
            (other, _) => Err(no_answer(model, other)),
        }
    }

    /// The feature vector of an image, of length 1 where `normalize` says so.
    pub async fn embed(
        &self,
        model: &Model,
        input: impl Into<ModelInput>,
        normalize: bool,
    ) -> Result<Embedding> {
        let task = PredictTask::Embed { normalize };
        match self.ask(model, input.into(), task).await? {
            (PredictOutcome::Embedded { timing }, body) => {
                let words = body.chunks_exact(4);
                let values = words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]));
                Ok(Embedding {
                    values: values.collect(),
                    timing,
                })
            }
            (other, _) => Err(no_answer(model, other)),
        }
    }

    /// Where a class, or where it is none the likeliest one, is seen in an image file.
    pub async fn explain(&self, model: &Model, image: Bytes, class: Option<u32>) -> Result<Explanation> {
        must_classify(model)?;
        match self
            .ask(model, image.into(), PredictTask::Explain { class })
            .await?
        {
            (PredictOutcome::Explained { class, timing }, png) => Ok(Explanation { class, png, timing }),
            (other, _) => Err(no_answer(model, other)),
        }
    }

    /// Has a model loaded and tried, so that the next who asks it does not wait for that. It takes no place from those who ask: a model
    /// can be warmed up while as many wait as may.
    ///
    /// # Errors
    /// As of any question: above all `model-unusable`, and `inference-timeout` where it is not loaded in time.
    pub async fn warm_up(&self, model: &Model) -> Result<()> {
        let shared = &*self.0;
        if shared.shutdown.is_cancelled() {
            return Err(leaving());
        }
        let deadline = Instant::now() + shared.limits.predict_deadline();
        let warmed = timeout_at(deadline, async {
            let _turn = shared.warming.acquire().await.map_err(|_| leaving())?;
            let task = match model.without_head() {
                None => PredictTask::Classify { top_k: 1 },
                Some(_) => PredictTask::Embed { normalize: false },
            };
            shared.ask(model, blank(model), task, deadline).await
        });
        match warmed.await {
            Ok(Ok((PredictOutcome::Predicted { .. } | PredictOutcome::Embedded { .. }, _))) => Ok(()),
            Ok(Ok((other, _))) => Err(no_answer(model, other)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(too_late(shared.limits.predict_deadline())),
        }
    }

    /// What a request would be told at once whose body has not been read yet: that it comes in vain.
    ///
    /// # Errors
    /// `inference-queue-full`, `draining`.
    pub fn has_room(&self) -> Result<()> {
        let shared = &*self.0;
        if shared.shutdown.is_cancelled() {
            return Err(leaving());
        }
        match shared.places.available_permits() {
            0 => Err(queue_full()),
            _ => Ok(()),
        }
    }

    /// How many questions each model was asked since the server was started.
    pub fn counts(&self) -> Vec<ModelCounts> {
        self.0.tally.counts()
    }

    /// How many images were computed together, each time that the network was.
    pub fn batches(&self) -> Histogram {
        self.0.batches.histogram()
    }

    /// How many questions are being answered or wait for it.
    pub fn waiting(&self) -> usize {
        let places = self.0.limits.max_predict_queue.min(Semaphore::MAX_PERMITS);
        places.saturating_sub(self.0.places.available_permits())
    }

    async fn ask(&self, model: &Model, input: ModelInput, task: PredictTask) -> Result<Answer> {
        let asked = self.ask_in_time(model, input, task).await;
        let is_answered = matches!(
            &asked,
            Ok((
                PredictOutcome::Predicted { .. }
                    | PredictOutcome::Embedded { .. }
                    | PredictOutcome::Explained { .. },
                _
            ))
        );
        self.0.tally.note(model, is_answered);
        asked
    }

    async fn ask_in_time(&self, model: &Model, input: ModelInput, task: PredictTask) -> Result<Answer> {
        let shared = &*self.0;
        if shared.shutdown.is_cancelled() {
            return Err(leaving());
        }
        // Held until this call ends or is dropped.
        let _place = shared.places.try_acquire().map_err(|_| queue_full())?;
        let deadline = Instant::now() + shared.limits.predict_deadline();
        let largest = (frames::MAX_BODY as usize).min(shared.limits.max_predict_bytes);
        let (ModelInput::File(bytes) | ModelInput::Tensor(bytes)) = &input;
        if bytes.len() > largest {
            let detail = format!(
                "the limit for an image is {largest} bytes, this one has {}",
                bytes.len()
            );
            return Err(Error::new(Kind::TooLarge, "too-large", detail));
        }
        match timeout_at(deadline, shared.ask(model, input, task, deadline)).await {
            Ok(answer) => answer,
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
        input: ModelInput,
        task: PredictTask,
        deadline: Instant,
    ) -> Result<Answer> {
        // What was resolved once is asked, also where the model's row has gone meanwhile: an alias may have moved on from it.
        let path = |digest: &str| {
            let path = self.blobs.path(digest);
            std::path::absolute(&path).unwrap_or(path)
        };
        let (kind, body) = match input {
            ModelInput::File(bytes) => (PredictInput::Image, bytes),
            ModelInput::Tensor(bytes) => (PredictInput::Tensor, bytes),
        };
        let (reply, answer) = oneshot::channel();
        let request = Request {
            model: ModelFiles::of(&model.sha256, &model.card_blob, model.base_blob(), path),
            task,
            input: kind,
            max_pixels: self.limits.ingest.max_image_pixels,
            body,
            deadline,
            reply,
        };
        self.requests.send(request).await.map_err(|_| leaving())?;
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Refusal::TooLate)) => Err(too_late(self.limits.predict_deadline())),
            Ok(Err(Refusal::ComeBack(delay))) => Err(unavailable(delay)),
            Err(_) => Err(leaving()),
        }
    }
}

/// # Errors
/// `no-head` (409) where the model is a backbone without a head.
fn must_classify(model: &Model) -> Result<()> {
    match model.without_head() {
        None => Ok(()),
        Some(detail) => Err(Error::new(Kind::Conflict, "no-head", detail)),
    }
}

/// An image of the mean colour, as a model sees it.
fn blank(model: &Model) -> ModelInput {
    let side = model.card.preprocessing.crop as usize;
    ModelInput::Tensor(Bytes::from(vec![0; 3 * side * side * size_of::<f32>()]))
}

/// Why there is no answer, where the child says something else than what it was asked.
fn no_answer(model: &Model, outcome: PredictOutcome) -> Error {
    match outcome {
        PredictOutcome::UnsupportedImage { message } => {
            Error::new(Kind::UnsupportedMedia, "image-unsupported", detail(&message))
        }
        PredictOutcome::InvalidImage { message } => {
            Error::new(Kind::Invalid, "image-invalid", detail(&message))
        }
        PredictOutcome::ModelUnusable { message } => {
            let detail = "the model cannot be loaded on this server; the server's log has the reason";
            Error::new(Kind::Unavailable, "model-unusable", detail).with_context(anyhow::anyhow!(message))
        }
        PredictOutcome::ModelDamaged { message } => {
            let what = format!("a file of the model `{}@{}`", model.name, model.version);
            Error::from(Damaged::new(what)).with_context(anyhow::anyhow!(message))
        }
        PredictOutcome::Predicted { .. }
        | PredictOutcome::Embedded { .. }
        | PredictOutcome::Explained { .. } => {
            Error::internal(anyhow::anyhow!("the predict worker sent the wrong kind of reply"))
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
    let detail = "the prediction queue is full; try again in a moment";
    Error::new(Kind::TooMany, "inference-queue-full", detail).retry_after(Duration::from_secs(1))
}

fn too_late(allowed: Duration) -> Error {
    let detail = format!("the prediction timed out after {} s", allowed.as_secs());
    Error::new(Kind::Timeout, "inference-timeout", detail)
}

fn unavailable(delay: Duration) -> Error {
    let detail = "the prediction process crashed and is being restarted; try again in a moment";
    Error::new(Kind::Unavailable, "model-unavailable", detail).retry_after(delay.max(Duration::from_secs(1)))
}

fn leaving() -> Error {
    let detail = "the server is stopping; try again when it has restarted";
    Error::new(Kind::Unavailable, "draining", detail).retry_after(Duration::from_secs(5))
}
