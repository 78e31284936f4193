//! A job of kind `lr_find`: a training's first steps with an increasing learning rate, and the loss of each (Smith 2017, "Cyclical Learning
//! Rates for Training Neural Networks", section 3.3). Every attempt starts over.

use std::time::{Duration, Instant};

use super::budget::Budget;
use crate::{
    domain::{
        jobs::{
            event::StepEvent,
            job::{FailureCode, Progress},
            lr_curve::{LrFindEnd, LrSearch},
        },
        spec::JobKind,
    },
    protocol::{FoundResult, LrFindRun, RunResult, WorkerMessage},
    worker::{
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        train::{
            checkpoints::checkpoint::Position,
            gradients,
            input::{portion::MicroBatches, precompute},
            progress::{halt::Halt, meter::Score, pulse::Heartbeat},
            setup,
        },
    },
};

/// Name of the curve in the run directory.
const CURVE_FILE: &str = "lr_find.json";

pub fn find_lr(
    run: &LrFindRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<RunResult, Halt> {
    let train = &*setup::described(&run.train, reporter, stop)?;
    let range = &run.lr_find;
    let budget = Budget::new(train.spec.max_seconds, train.common.seconds_used);
    let context = setup::context(train, dir, reporter, stop)?;
    let (mut learner, start) = setup::start(train, &context, reporter, stop)?;
    let mut micro_batches = MicroBatches::new(start.batch_limit, setup::smallest_batch(train));
    let mut heartbeat = Heartbeat::new(reporter, stop);
    let feed = precompute::feed(1, train, &context, dir, &learner, reporter, &mut heartbeat)?;
    let steps_per_epoch = context.plan.steps_per_epoch().max(1) as u32;
    let mut progress = StepReporter::new(reporter, range.steps, steps_per_epoch);
    let mut search = LrSearch::default();
    let mut end = LrFindEnd::Completed;
    let mut step = 0;
    'search: while step < range.steps {
        let mut epoch = Position {
            epoch: step / steps_per_epoch + 1,
            step_in_epoch: 0,
            step: u64::from(step),
        };
        let mut batches = feed.training(epoch);
        let order = context.plan.order(epoch.epoch);
        for rows in context.plan.step_rows() {
            heartbeat.beat()?;
            budget.check()?;
            let (lr, places) = (range.lr(step), &order[rows]);
            let outcome = gradients::accumulate(
                &mut learner,
                &mut micro_batches,
                &context.data,
                &mut batches,
                places,
                epoch.step,
            )?;
            let _norm = learner.step(lr, epoch.step);
            epoch.step += 1;
            let score: Score = Score::read(&[(outcome, places.len() as u64)]).into_iter().sum();
            step += 1;
            if !search.add(lr, score.mean_loss()) {
                end = LrFindEnd::Diverged;
            }
            progress.count(lr, score, end == LrFindEnd::Diverged);
            if end == LrFindEnd::Diverged || step == range.steps {
                break 'search;
            }
        }
    }
    let Some(curve) = search.finish(end) else {
        let message = "the loss is not finite at the very first step; lower `lr_find.min_lr`";
        return Err(Halt::failed(FailureCode::Diverged, message));
    };
    dir.write_compact_json(CURVE_FILE, &curve)?;
    let file = dir.artifact(CURVE_FILE)?;
    Ok(RunResult::Found(FoundResult::new(JobKind::LrFind, file)))
}

/// Reports steps as a training does, at most ten times a second.
struct StepReporter {
    reporter: Reporter,
    steps: u32,
    steps_per_epoch: u32,
    step: u32,
    /// Since the previous message.
    window: Score,
    window_began: Instant,
    last: Option<Instant>,
    began: Instant,
}

impl StepReporter {
    const INTERVAL: Duration = Duration::from_millis(100);

    fn new(reporter: &Reporter, steps: u32, steps_per_epoch: u32) -> Self {
        let now = Instant::now();
        Self {
            reporter: reporter.clone(),
            steps,
            steps_per_epoch,
            step: 0,
            window: Score::default(),
            window_began: now,
            last: None,
            began: now,
        }
    }

    fn count(&mut self, lr: f64, score: Score, last: bool) {
        self.step += 1;
        if !score.loss.is_finite() {
            return;
        }
        self.window = [self.window, score].into_iter().sum();
        let due = self.last.is_none_or(|last| last.elapsed() >= Self::INTERVAL);
        if !(due || last || self.step == self.steps) {
            return;
        }
        let speed = self.window.images as f64 / self.window_began.elapsed().as_secs_f64().max(1e-9);
        let event = StepEvent {
            step: u64::from(self.step),
            epoch: self.epoch(self.step),
            train_loss: self.window.mean_loss(),
            lr,
            images_per_second: speed,
            alignment_loss: None,
            distillation_loss: None,
        };
        let progress = self.progress(speed);
        self.reporter.send(&WorkerMessage::Step { event, progress });
        self.window = Score::default();
        self.window_began = Instant::now();
        self.last = Some(Instant::now());
    }

    fn progress(&self, speed: f64) -> Progress {
        let per_step = self.began.elapsed().as_secs_f64() / f64::from(self.step);
        Progress {
            epoch: self.epoch(self.step),
            epochs: self.epoch(self.steps),
            step: u64::from(self.step),
            steps: u64::from(self.steps),
            images_per_second: Some(speed),
            eta_seconds: Some(per_step * f64::from(self.steps - self.step)),
            waiting: None,
        }
    }

    /// The epoch of a step, counted from 1.
    fn epoch(&self, step: u32) -> u32 {
        step.saturating_sub(1) / self.steps_per_epoch + 1
    }
}
