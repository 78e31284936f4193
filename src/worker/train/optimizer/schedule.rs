//! The learning rate as a function of the step, and with `plateau` also of earlier epochs' results. Stateless.

use crate::domain::spec::{JobSpec, Monitor, ScheduleName, ScheduleSpec};
use crate::worker::train::checkpoints::history::{self, ValidationScores};

/// The learning rate of the head over a run.
#[derive(Clone, Debug)]
pub struct Schedule {
    spec: ScheduleSpec,
    lr: f64,
    monitor: Monitor,
    steps_per_epoch: u64,
    steps: u64,
    warmup_steps: u64,
}

impl Schedule {
    /// Default fraction of all steps in which `one_cycle` increases the rate, and the divisors for its first and last rate: torch's
    /// defaults.
    const WARMUP_SHARE: f64 = 0.3;
    const START_DIVISOR: f64 = 25.0;
    const END_DIVISOR: f64 = 1e4;

    pub fn new(spec: &JobSpec, steps_per_epoch: usize) -> Self {
        let steps_per_epoch = (steps_per_epoch as u64).max(1);
        Self {
            lr: spec.optimizer.lr,
            monitor: spec
                .early_stopping
                .as_ref()
                .map(|early| early.monitor)
                .unwrap_or_default(),
            warmup_steps: (spec.schedule.warmup_epochs * steps_per_epoch as f64).round() as u64,
            spec: spec.schedule.clone(),
            steps_per_epoch,
            steps: steps_per_epoch * u64::from(spec.epochs),
        }
    }

    /// The rate of a step (from 0); `epochs` are the results of the epochs before it.
    pub fn lr(&self, step: u64, epochs: &[ValidationScores]) -> f64 {
        if self.spec.name == ScheduleName::OneCycle {
            return self.one_cycle(step);
        }
        if step < self.warmup_steps {
            return self.lr * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let step = step - self.warmup_steps;
        let gamma = self.spec.gamma.unwrap_or(0.1);
        match self.spec.name {
            ScheduleName::Constant | ScheduleName::OneCycle => self.lr,
            ScheduleName::Step => {
                let every = u64::from(self.spec.step_epochs.unwrap_or(7)) * self.steps_per_epoch;
                self.lr * gamma.powi((step / every) as i32)
            }
            ScheduleName::Cosine => {
                let steps = self.steps.saturating_sub(self.warmup_steps).max(1);
                between(self.lr, 0.0, step as f64 / steps as f64)
            }
            ScheduleName::Plateau => {
                let patience = self.spec.patience.unwrap_or(10);
                self.lr * gamma.powi(history::plateaus(self.monitor, patience, epochs))
            }
        }
    }

    fn one_cycle(&self, step: u64) -> f64 {
        let rise = match self.warmup_steps {
            0 => Self::WARMUP_SHARE * self.steps as f64,
            steps => steps as f64,
        };
        let (top, end, step) = (rise - 1.0, self.steps as f64 - 1.0, step as f64);
        let start = self.lr / Self::START_DIVISOR;
        if step <= top && top > 0.0 {
            between(start, self.lr, step / top)
        } else if end > top.max(0.0) {
            between(self.lr, start / Self::END_DIVISOR, (step - top) / (end - top))
        } else {
            self.lr
        }
    }
}

/// From one rate to another along half a cosine; `share` is the position in between, 0 to 1.
fn between(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) / 2.0 * (1.0 + (std::f64::consts::PI * share).cos())
}
