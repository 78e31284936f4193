//! tmp
use crate::{blobs::Blobs, config::Config, domain::model::*, error::*, jobs::Jobs, store::Store};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
pub struct InferenceContext {
    pub store: Store,
    pub blobs: Blobs,
    pub config: Config,
    pub worker: PathBuf,
    pub jobs: Jobs,
    pub shutdown: CancellationToken,
}
#[derive(Clone)]
pub struct Inference;
pub struct Prediction {
    pub classes: Vec<ClassProbability>,
    pub timing: PredictionTiming,
}
impl Inference {
    pub fn start(_: InferenceContext) -> Self {
        Self
    }
    pub async fn predict(&self, _: &Model, _: bytes::Bytes, _: u32) -> Result<Prediction> {
        unreachable!()
    }
    pub async fn drained(&self) {}
}
