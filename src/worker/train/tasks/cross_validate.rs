//! A job of kind `cross_validate`: how accurate heads are on folds that they have not seen, for several divisions into folds. Every attempt
//! starts over; features that earlier jobs have left are used, and new ones are left for later jobs.

use tch::Tensor;

use super::{
    budget::Budget,
    folds::{Divisible, Folds},
    outputs,
};
use crate::{
    domain::{
        datasets::split::{self, Shares, Split},
        jobs::{
            cross_validation::{CrossValidation, FoldScore, Measured},
            job::FailureCode,
        },
        metrics::{self, Confusion, Logits},
        spec::JobKind,
    },
    protocol::{CrossValidateRun, FoundResult, RunResult, TrainRun, WorkerMessage},
    worker::{
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        train::{
            input::data::{self, Sample},
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

/// Name of the scores in the run directory.
const SCORES_FILE: &str = "cross_validation.json";
/// What a training validates on by default.
const VALIDATION: Shares = Shares { val: 0.2, test: 0.0 };

pub fn cross_validate(
    run: &CrossValidateRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<RunResult, Halt> {
    let train = &*setup::described(&run.train, reporter, stop)?;
    let data = data::read_whole(&train.common.dataset, |split| split != Split::Test)?;
    let divisible = Divisible::of(&data, &train.common.dataset.classes, run.spec.group_by.as_ref());
    let mut divisions = Vec::new();
    for seed in run.spec.seeds() {
        divisions.push((seed, divisible.folds(run.spec.folds, seed)?));
    }
    let mut heartbeat = Heartbeat::new(reporter, stop);
    let context = setup::context_of(train, data, dir, reporter, stop)?;
    let (learner, _) = setup::start(train, &context, reporter, stop)?;
    let all = AllFeatures::of(train, &context, dir, &learner, &mut heartbeat)?;
    let mut work = Work {
        run,
        divisible: &divisible,
        samples: &context.data.train,
        budget: Budget::new(run.spec.max_seconds, train.common.seconds_used),
        heartbeat,
    };
    let scores = work.scores(train, &all.train, &divisions, reporter)?;
    let found = CrossValidation::of(about(run, train, all.train.count()), scores);
    let [low, high] = found.accuracy_interval.map(|share| 100.0 * share);
    let accuracy = 100.0 * found.accuracy;
    let message =
        format!("{accuracy:.1} % of images that a head has not seen are right, {low:.1} % to {high:.1} %");
    reporter.send(&WorkerMessage::log(message));
    dir.write_compact_json(SCORES_FILE, &found)?;
    Ok(RunResult::Found(FoundResult {
        activations: all.activations.into_iter().collect(),
        ..FoundResult::new(JobKind::CrossValidate, dir.artifact(SCORES_FILE)?)
    }))
}

fn about(run: &CrossValidateRun, train: &TrainRun, images: u64) -> Measured {
    Measured {
        dataset: train.common.dataset.lineage.clone(),
        images,
        architecture: train.spec.backbone.architecture,
        weights: train.spec.backbone.weights.clone().into(),
        image_size: train.spec.image.size,
        folds: run.spec.folds,
    }
}

/// What the work on every fold needs.
struct Work<'a> {
    run: &'a CrossValidateRun,
    divisible: &'a Divisible<'a>,
    samples: &'a [Sample],
    budget: Budget,
    heartbeat: Heartbeat,
}

impl Work<'_> {
    /// By seed and fold, in order.
    fn scores(
        &mut self,
        train: &TrainRun,
        features: &Features,
        divisions: &[(u64, Folds)],
        reporter: &Reporter,
    ) -> Result<Vec<FoldScore>, Halt> {
        let _one = OneThread::new(train.common.threads);
        let classes = train.common.dataset.classes.len();
        let mut probe = Probe::new(features, classes, train.common.threads);
        let strengths = match self.run.spec.head.l2 {
            Some(l2) => vec![l2],
            None => probe.strengths(),
        };
        let count = self.run.spec.folds;
        let mut progress = ProgressReporter::new(reporter, divisions.len() * count as usize);
        let mut scores = Vec::new();
        for (seed, folds) in divisions {
            for fold in 0..count {
                self.budget.check()?;
                let (others, own) = folds.apart(fold);
                let (l2, logits) = self.judged(&mut probe, &strengths, &others, &own, *seed)?;
                scores.push(score(*seed, fold + 1, l2, &logits));
                progress.count(own.len(), 1);
            }
        }
        probe.warn(reporter);
        Ok(scores)
    }

    /// The penalty of the head that a training on `others` would make, and what that says of the images at `own`. Where the penalty is to be
    /// chosen, a part of `others` chooses it and takes no part otherwise, as in a training.
    fn judged(
        &mut self,
        probe: &mut Probe,
        strengths: &[f64],
        others: &[usize],
        own: &[usize],
        seed: u64,
    ) -> Result<(f64, Logits), Halt> {
        if let [l2] = strengths {
            let mut outputs = probe.logits(others, own, strengths, &mut self.heartbeat)?;
            return Ok((*l2, self.joined(&outputs.remove(0), own)?));
        }
        let (learnt, choosing) = self.parted(others, seed)?;
        let both = [choosing.as_slice(), own].concat();
        let outputs = probe.logits(&learnt, &both, strengths, &mut self.heartbeat)?;
        let mut best: Option<(f64, f64, usize)> = None;
        for (place, logits) in outputs.iter().enumerate() {
            let chosen = self.joined(&logits.narrow(0, 0, choosing.len() as i64), &choosing)?;
            let verdicts = chosen.verdicts(1.0);
            let accuracy = Confusion::of(chosen.labels(), &verdicts, chosen.classes()).accuracy();
            let loss = metrics::mean_loss(&verdicts);
            let is_better = |(highest, lowest, _): (f64, f64, usize)| {
                accuracy.total_cmp(&highest).then(lowest.total_cmp(&loss)).is_gt()
            };
            if best.is_none_or(is_better) {
                best = Some((accuracy, loss, place));
            }
        }
        let place = best.map_or(0, |(_, _, place)| place);
        let logits = outputs[place].narrow(0, choosing.len() as i64, own.len() as i64);
        Ok((strengths[place], self.joined(&logits, own)?))
    }

    /// Those of these images that a head is made of, and those that choose its penalty.
    fn parted(&self, places: &[usize], seed: u64) -> Result<(Vec<usize>, Vec<usize>), Halt> {
        let of = |all: &[u32]| -> Vec<u32> { places.iter().map(|&place| all[place]).collect() };
        let (labels, groups) = (of(&self.divisible.labels), of(&self.divisible.groups));
        let parts = split::stratified(&labels, &groups, VALIDATION, seed);
        let (mut learnt, mut choosing) = (Vec::new(), Vec::new());
        for (&place, part) in places.iter().zip(parts) {
            match part {
                Split::Val => choosing.push(place),
                _ => learnt.push(place),
            }
        }
        if choosing.is_empty() {
            let message = "too few images are left to choose `head.l2` by; give `head.l2`, or add images";
            return Err(Halt::failed(FailureCode::InvalidData, message));
        }
        Ok((learnt, choosing))
    }

    /// Logits of the images at these places.
    fn joined(&self, logits: &Tensor, places: &[usize]) -> Result<Logits, Halt> {
        let samples: Vec<Sample> = places.iter().map(|&place| self.samples[place]).collect();
        outputs::joined(&[logits.shallow_clone()], &samples, None)
    }
}

fn score(seed: u64, fold: u32, l2: f64, logits: &Logits) -> FoldScore {
    let verdicts = logits.verdicts(1.0);
    let confusion = Confusion::of(logits.labels(), &verdicts, logits.classes());
    FoldScore {
        seed,
        fold,
        images: logits.images() as u64,
        accuracy: confusion.accuracy(),
        macro_f1: confusion.macro_f1(),
        loss: metrics::mean_loss(&verdicts),
        l2,
    }
}
