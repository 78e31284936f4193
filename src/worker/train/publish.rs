//! From the best weights to a model bundle and its evaluation, the last step of a training.

use std::fs;

use super::{
    context::TrainContext,
    learner::{Base, Learner},
    progress::halt::Halt,
    session::{Outcome, Scores},
    tasks::outputs,
};
use crate::{
    domain::{
        jobs::{
            adaptation::Adaptation,
            evaluation::{Evaluation, Subject},
            job::StopReason,
        },
        metrics::{self, multi_label, multi_task},
        models::{
            adapter::Adapter, model::ModelCard, preprocessing::Preprocessing, pretraining::Pretraining,
            tasks::tasks_of,
        },
        spec::{EvaluatedSplit, PretrainSpec, Task},
    },
    protocol::{Artifact, TrainResult, TrainRun, UsedActivations},
    worker::{
        files::{bundle, state::StateDict},
        process::run_dir::RunDir,
        weights::BaseWeights,
    },
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
    let adaptation = adaptation(run, context, outcome.scores);
    let whole = outcome.learner.with(&outcome.best.weights);
    let parts = Parts::of(run, dir, &outcome.learner, whole)?;
    let logits = outcome.logits.as_ref();
    let fitted = match run.spec.task {
        Task::Single => logits.and_then(metrics::fit_temperature),
        Task::MultiLabel => logits.and_then(multi_label::fit_binary_temperature),
        Task::MultiTask => None,
    };
    let temperature = fitted.unwrap_or_else(ModelCard::no_temperature);
    let classes = run.common.dataset.classes.clone();
    let mut tasks = Vec::new();
    if run.spec.task == Task::MultiTask {
        tasks = tasks_of(&classes).map_err(anyhow::Error::msg)?;
        if let Some(logits) = logits {
            multi_task::fit_temperatures(logits, &mut tasks);
        }
    }
    let card = ModelCard {
        task: run.spec.task,
        thresholds: match (run.spec.task, &outcome.logits) {
            (Task::Single | Task::MultiTask, _) => Vec::new(),
            (Task::MultiLabel, Some(logits)) => multi_label::thresholds(logits, temperature),
            (Task::MultiLabel, None) => vec![0.5; classes.len()],
        },
        tasks,
        classes,
        spec: Some(run.spec.clone()),
        metrics: Some(outcome.best.metrics),
        temperature,
        adapter: parts.adapter,
        ..card(run, context, &outcome.learner, &outcome.base_weights)
    };
    let evaluation = match &outcome.logits {
        None => None,
        Some(logits) => {
            let subject = Subject {
                dataset: run.common.dataset.lineage.clone(),
                split: EvaluatedSplit::Val,
                classes: &card.classes,
                temperature,
                thresholds: &card.thresholds,
                tasks: &card.tasks,
            };
            let mut evaluation = Evaluation::of(&subject, logits, outputs::images_of(&context.data));
            evaluation.adaptation = adaptation;
            evaluation.distillation = outcome.distillation;
            dir.write_compact_json(EVALUATION_FILE, &evaluation)?;
            Some(dir.artifact(EVALUATION_FILE)?)
        }
    };
    let result = written(
        dir,
        card,
        &parts.own,
        (outcome.reason, outcome.activations),
        evaluation,
    )?;
    Ok(TrainResult {
        base: parts.base,
        ..result
    })
}

/// A model's own weights and, where others may share them, the rest.
struct Parts {
    own: StateDict,
    adapter: Option<Box<Adapter>>,
    /// None also where it is there already.
    base: Option<Artifact>,
}

impl Parts {
    /// Parts all weights of a model; those that are not its own are written, unless they are known to be there.
    fn of(run: &TrainRun, dir: &RunDir, learner: &Learner, whole: StateDict) -> Result<Self, Halt> {
        let (adapt, backbone) = (run.spec.adapt, learner.base()?);
        if adapt.is_none() && backbone.is_none() {
            return Ok(Self {
                own: whole,
                adapter: None,
                base: None,
            });
        }
        let (own, rest): (StateDict, StateDict) =
            whole.into_iter().partition(|(name, _)| learner.is_trained(name));
        let is_known = |base: &&Base| {
            let mut same = run.bases.iter().filter(|known| known.file.sha256 == base.sha256);
            // One that was lost is written again.
            same.any(|known| fs::metadata(&known.file.path).is_ok_and(|file| file.len() == base.bytes))
        };
        let (base, written) = match backbone.filter(is_known) {
            Some(known) => (known.clone(), None),
            None => {
                let written = bundle::write_base(dir, &rest)?;
                let (sha256, bytes) = (written.sha256.clone(), written.bytes);
                (Base { sha256, bytes }, Some(written))
            }
        };
        let learning = own.iter().filter(|(name, _)| learner.network.learns(name));
        let adapter = Adapter {
            adapt,
            parameters: learning.map(|(_, tensor)| tensor.numel() as u64).sum(),
            base_sha256: base.sha256,
            base_bytes: base.bytes,
        };
        Ok(Self {
            own,
            adapter: Some(Box::new(adapter)),
            base: written,
        })
    }
}

/// Writes `model.safetensors` and `model.json` of a backbone without a head.
pub fn publish_backbone(
    spec: &PretrainSpec,
    run: &TrainRun,
    context: &TrainContext,
    dir: &RunDir,
    outcome: Outcome,
) -> Result<TrainResult, Halt> {
    let quality = outcome
        .quality
        .ok_or_else(|| anyhow::anyhow!("the features were not measured"))?;
    let weights = outcome.learner.with(&outcome.best.weights);
    let metrics = &outcome.best.metrics;
    let pretraining = Pretraining {
        spec: spec.clone(),
        epochs: metrics.epoch,
        images: metrics.train_images,
        loss: metrics.train_loss,
        knn_accuracy: quality.knn_accuracy,
        feature_spread: quality.spread,
    };
    let card = ModelCard {
        pretraining: Some(Box::new(pretraining)),
        ..card(run, context, &outcome.learner, &outcome.base_weights)
    };
    written(dir, card, &weights, (outcome.reason, outcome.activations), None)
}

/// Writes a model.
fn written(
    dir: &RunDir,
    card: ModelCard,
    weights: &StateDict,
    (stop_reason, activations): (StopReason, Vec<UsedActivations>),
    evaluation: Option<Artifact>,
) -> Result<TrainResult, Halt> {
    let files = bundle::write(dir, weights, &card)?;
    Ok(TrainResult {
        stop_reason,
        card,
        weights: files.weights,
        card_file: files.card,
        base: None,
        activations,
        evaluation,
    })
}

/// What any model of a run says of itself.
fn card(run: &TrainRun, context: &TrainContext, learner: &Learner, base_weights: &BaseWeights) -> ModelCard {
    ModelCard {
        format: ModelCard::FORMAT,
        architecture: run.spec.backbone.architecture,
        head: learner.network.outputs().head,
        classes: Vec::new(),
        task: Task::Single,
        thresholds: Vec::new(),
        tasks: Vec::new(),
        preprocessing: Preprocessing {
            used_bits: context.data.used_bits(),
            ..run.spec.preprocessing()
        },
        spec: None,
        metrics: None,
        pretraining: None,
        adapter: None,
        dataset: Some(run.common.dataset.lineage.clone()),
        base_weights: base_weights.name.clone(),
        base_weights_sha256: base_weights.sha256.clone(),
        base_weights_guessed: base_weights.guessed,
        program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        libtorch: context.machine.libtorch.clone(),
        temperature: ModelCard::no_temperature(),
    }
}

/// What the adaptation to a target domain has brought.
fn adaptation(run: &TrainRun, context: &TrainContext, scores: Option<Scores>) -> Option<Adaptation> {
    let (adaptation, target) = (
        run.spec.domain_adaptation.as_ref()?,
        context.unlabelled.as_deref()?,
    );
    let Scores { source_only, latest } = scores?;
    Some(Adaptation {
        method: adaptation.method,
        target: target.run.common.dataset.lineage.clone(),
        images: target.context.data.train.len() as u64,
        source_only,
        adapted: latest,
    })
}
