//! From the best weights to a model bundle and its evaluation, the last step of a training.

use super::{context::TrainContext, progress::halt::Halt, session::Outcome, tasks::outputs};
use crate::{
    domain::{
        jobs::evaluation::{Evaluation, Subject},
        metrics,
        models::{model::ModelCard, preprocessing::Preprocessing},
        spec::EvaluatedSplit,
    },
    protocol::{TrainResult, TrainRun},
    worker::{files::bundle, process::run_dir::RunDir},
};

/// Name of the evaluation in the run directory.
pub const EVALUATION_FILE: &str = "evaluation.json";

/// Writes `model.safetensors`, `model.json` and, if there are validation images, `evaluation.json`.
pub fn publish(
    run: &TrainRun,
    context: &TrainContext,
    dir: &RunDir,
    outcome: Outcome,
) -> Result<TrainResult, Halt> {
    let weights = outcome.learner.with(&outcome.best.weights);
    let fitted = outcome.logits.as_ref().and_then(metrics::fit_temperature);
    let temperature = fitted.unwrap_or_else(ModelCard::no_temperature);
    let card = ModelCard {
        format: ModelCard::FORMAT,
        architecture: run.spec.backbone.architecture,
        head: outcome.learner.network.outputs().head,
        classes: run.common.dataset.classes.clone(),
        preprocessing: Preprocessing {
            used_bits: context.data.used_bits(),
            ..run.spec.preprocessing()
        },
        spec: Some(run.spec.clone()),
        metrics: Some(outcome.best.metrics),
        dataset: Some(run.common.dataset.lineage.clone()),
        base_weights: outcome.base_weights.name,
        base_weights_sha256: outcome.base_weights.sha256,
        program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        libtorch: context.machine.libtorch.clone(),
        temperature,
    };
    let evaluation = match &outcome.logits {
        None => None,
        Some(logits) => {
            let subject = Subject {
                dataset: run.common.dataset.lineage.clone(),
                split: EvaluatedSplit::Val,
                classes: &card.classes,
                temperature,
            };
            let evaluation = Evaluation::of(&subject, logits, outputs::images_of(&context.data));
            dir.write_compact_json(EVALUATION_FILE, &evaluation)?;
            Some(dir.artifact(EVALUATION_FILE)?)
        }
    };
    let files = bundle::write(dir, &weights, &card)?;
    Ok(TrainResult {
        stop_reason: outcome.reason,
        card,
        weights: files.weights,
        card_file: files.card,
        activations: outcome.activations,
        evaluation,
    })
}
