//! From the best weights to a model bundle, the last act of a run.

use super::{halt::Halt, session::Outcome, setup::Ground};
use crate::{
    domain::model::ModelCard,
    protocol::{TrainResult, TrainRun},
    worker::{bundle, child::RunDir},
};

/// Writes `model.safetensors` and `model.json`.
pub fn publish(run: &TrainRun, ground: &Ground, dir: &RunDir, outcome: Outcome) -> Result<TrainResult, Halt> {
    let weights = outcome.learner.with(&outcome.best.weights);
    let card = ModelCard {
        format: ModelCard::FORMAT,
        architecture: run.spec.backbone.architecture,
        classes: run.dataset.classes.clone(),
        preprocessing: run.spec.preprocessing(),
        spec: run.spec.clone(),
        metrics: outcome.best.metrics,
        dataset: run.dataset.lineage.clone(),
        base_weights: outcome.base_weights,
        program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        libtorch: ground.machine.libtorch.clone(),
    };
    let files = bundle::write(dir, &weights, &card)?;
    Ok(TrainResult {
        stop_reason: outcome.reason,
        card,
        weights: files.weights,
        card_file: files.card,
        activations: outcome.activations,
    })
}
