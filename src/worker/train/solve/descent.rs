//! The search for the head with the lowest objective, for one strength of the penalty after another, and which strengths to try.

use super::{
    lbfgs::{Minimum, Stop, minimised},
    objective::Objective,
};

/// Strengths that are tried, in the mean variance of a feature: 10 to 1e-5, two in each power of ten.
const TRIED: i32 = 13;
/// Largest part of the gradient that is left, in that at the start.
const PRECISION: f64 = 1e-8;
const MOST_ITERATIONS: usize = 2000;
/// Two layers have many solutions, none of which is worth more steps.
const PRECISION_OF_TWO: f64 = 1e-4;
const MOST_ITERATIONS_OF_TWO: usize = 200;

pub struct Descent<'a> {
    objective: &'a Objective,
    stop: Stop,
}

impl<'a> Descent<'a> {
    /// `start` is where the first search begins: what is left of the gradient is measured against that there.
    pub fn new(objective: &'a Objective, start: &[f64]) -> Self {
        let gradient = objective.at(start, 0.0).gradient;
        let unit = gradient
            .into_iter()
            .fold(f64::MIN_POSITIVE, |largest, part| largest.max(part.abs()));
        let (precision, iterations) = match objective.is_convex() {
            true => (PRECISION, MOST_ITERATIONS),
            false => (PRECISION_OF_TWO, MOST_ITERATIONS_OF_TWO),
        };
        Self {
            objective,
            stop: Stop {
                gradient: precision * unit,
                iterations,
            },
        }
    }

    /// The minimum for this strength, from these parameters on; see [`minimised`].
    ///
    /// # Errors
    /// Those of `goes_on`.
    pub fn minimum<E>(
        &self,
        from: Vec<f64>,
        l2: f64,
        goes_on: impl FnMut() -> Result<bool, E>,
    ) -> Result<Minimum, E> {
        let at = |parameters: &[f64]| self.objective.at(parameters, l2);
        minimised(from, &self.objective.scale(l2), self.stop, at, goes_on)
    }
}

/// The strengths to try for features of this mean variance, from strong to weak; every `step`-th.
pub fn strengths(spread: f64, step: usize) -> Vec<f64> {
    let spread = spread.max(f64::MIN_POSITIVE);
    let value = |place| short(spread * 10f64.powf(1.0 - f64::from(place) / 2.0));
    (0..TRIED).step_by(step).map(value).collect()
}

/// With three digits, so that a value that was chosen can be given.
fn short(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}
