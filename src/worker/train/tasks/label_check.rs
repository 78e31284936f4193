//! A job of kind `label_check`: what heads that have not seen an image say about its label, and how far it is from the other images. Every
//! attempt starts over; features that earlier jobs have left are used, and new ones are left for later jobs.

use tch::{Kind, Tensor};

use super::{
    budget::Budget,
    folds::{Divisible, Folds},
    neighbours,
};
use crate::{
    domain::{
        jobs::label_check::{Checked, LabelCheck},
        metrics::label_check::{ConfidentJoint, Judgements, NEIGHBOURS, ranked},
        spec::JobKind,
    },
    protocol::{FoundResult, LabelCheckRun, RunResult, TrainRun, WorkerMessage},
    worker::{
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        train::{
            context::TrainContext,
            input::data,
            progress::{halt::Halt, pulse::Heartbeat, reporter::ProgressReporter},
            setup,
            solve::{
                OneThread,
                features::{AllFeatures, Features},
                probe::Probe,
            },
        },
    },
};

/// Name of the list in the run directory.
const LIST_FILE: &str = "label_check.json";

pub fn label_check(
    run: &LabelCheckRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<RunResult, Halt> {
    let train = &*setup::described(&run.train, reporter, stop)?;
    let classes = &train.common.dataset.classes;
    let data = data::read_whole(&train.common.dataset, |_| true)?;
    let divisible = Divisible::of(&data, classes, run.spec.group_by.as_ref());
    let folds = divisible.folds(run.spec.folds, run.spec.seed)?;
    let mut work = Work {
        folds: &folds,
        count: run.spec.folds,
        labels: divisible.labels,
        classes: classes.len(),
        threads: train.common.threads,
        budget: Budget::new(run.spec.max_seconds, train.common.seconds_used),
        // Each fold twice, and the neighbours.
        progress: ProgressReporter::new(reporter, 2 * run.spec.folds as usize + 1),
        heartbeat: Heartbeat::new(reporter, stop),
    };
    let context = setup::context_of(train, data, dir, reporter, stop)?;
    let (learner, _) = setup::start(train, &context, reporter, stop)?;
    let all = AllFeatures::of(train, &context, dir, &learner, &mut work.heartbeat)?;
    let (l2, judgements) = work.judged(&all.train, reporter)?;
    work.budget.check()?;
    let neighbours = neighbours::nearest(&all.train.vectors, NEIGHBOURS, &mut work.heartbeat)?;
    work.progress.count(judgements.labels().len(), 1);
    let joint = ConfidentJoint::of(&judgements);
    let suspects = ranked(&judgements, &joint, &neighbours);
    let image = |place: usize| {
        let image = &context.data.images[context.data.train[place].image];
        (image.id, image.path.as_str())
    };
    let checked = about(train, run.spec.folds, l2);
    let found = LabelCheck::of(checked, &judgements, &joint, &suspects, image);
    reporter.send(&WorkerMessage::log(summary(&context, &found)));
    dir.write_compact_json(LIST_FILE, &found)?;
    Ok(RunResult::Found(FoundResult {
        activations: all.activations.into_iter().collect(),
        ..FoundResult::new(JobKind::LabelCheck, dir.artifact(LIST_FILE)?)
    }))
}

fn about(train: &TrainRun, folds: u32, l2: f64) -> Checked<'_> {
    Checked {
        dataset: train.common.dataset.lineage.clone(),
        classes: &train.common.dataset.classes,
        architecture: train.spec.backbone.architecture,
        weights: train.spec.backbone.weights.clone().into(),
        image_size: train.spec.image.size,
        folds,
        l2,
    }
}

fn summary(context: &TrainContext, found: &LabelCheck) -> String {
    format!(
        "of {} images {} have a doubtful label, {} more are nearly the same as an image of another label, and {} more are unlike all others",
        context.data.train.len(),
        found.found.label,
        found.found.duplicate,
        found.found.outlier
    )
}

/// The folds and what their work needs.
struct Work<'a> {
    folds: &'a Folds,
    count: u32,
    /// The class of each image.
    labels: Vec<u32>,
    classes: usize,
    threads: u32,
    budget: Budget,
    progress: ProgressReporter,
    heartbeat: Heartbeat,
}

impl Work<'_> {
    /// What heads say of each image that they have not seen, with the penalty for which that is most right: the lowest cross entropy.
    ///
    /// Two rounds, so that the outputs for one penalty only are in memory.
    fn judged(&mut self, features: &Features, reporter: &Reporter) -> Result<(f64, Judgements), Halt> {
        let _one = OneThread::new(self.threads);
        let mut probe = Probe::new(features, self.classes, self.threads);
        let strengths = probe.strengths();
        let mut losses = vec![0.0; strengths.len()];
        for fold in 0..self.count {
            let (others, own) = self.folds.apart(fold);
            for (loss, logits) in losses.iter_mut().zip(self.outputs(&mut probe, fold, &strengths)?) {
                *loss += probe.loss(&logits, &own);
            }
            self.progress.count(others.len(), 1);
        }
        let best =
            (0..losses.len()).reduce(|best, next| if losses[next] < losses[best] { next } else { best });
        let l2 = strengths[best.unwrap_or_default()];
        let mut probabilities = vec![0.0; self.labels.len() * self.classes];
        for fold in 0..self.count {
            let (others, own) = self.folds.apart(fold);
            for logits in self.outputs(&mut probe, fold, &[l2])? {
                let rows = rows(&logits)?;
                for (place, row) in own.iter().zip(rows.chunks(self.classes)) {
                    probabilities[place * self.classes..][..self.classes].copy_from_slice(row);
                }
            }
            self.progress.count(others.len(), 1);
        }
        probe.warn(reporter);
        let judgements = Judgements::new(self.classes, probabilities, self.labels.clone());
        Ok((l2, judgements.map_err(anyhow::Error::msg)?))
    }

    /// Logits for the images of a fold by heads that are made of the others.
    fn outputs(&mut self, probe: &mut Probe, fold: u32, strengths: &[f64]) -> Result<Vec<Tensor>, Halt> {
        self.budget.check()?;
        let (others, own) = self.folds.apart(fold);
        probe.logits(&others, &own, strengths, &mut self.heartbeat)
    }
}

/// Probabilities, one row after another. Rounding may bring one above 1.
fn rows(logits: &Tensor) -> anyhow::Result<Vec<f64>> {
    let probabilities = logits.softmax(-1, Kind::Double).clamp_max(1.0);
    Ok(Vec::try_from(probabilities.contiguous().view(-1))?)
}
