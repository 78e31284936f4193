//! Limited-memory BFGS (Liu and Nocedal 1989; Nocedal and Wright 2006, algorithms 7.4 and 7.5): minimises a smooth function of many numbers.
//!
//! Everything here is plain 64-bit arithmetic in a fixed order: the same function gives the same bits.

use std::collections::VecDeque;

/// Steps that approximate the curvature.
const MEMORY: usize = 20;
/// Of the conditions of Wolfe: a step must reach this share of the decrease that the slope promises, and leave at most this share of the slope.
const DECREASE: f64 = 1e-4;
const SLOPE_LEFT: f64 = 0.9;
/// Near the minimum values differ by less than their rounding, and only slopes tell (Hager and Zhang 2005, the approximate conditions).
const ROUNDING: f64 = 1e-13;
/// Lengths tried for one step.
const MOST_LENGTHS: usize = 60;

/// A value of the function and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub value: f64,
    pub gradient: Vec<f64>,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// The largest part of the gradient is no larger than this.
    pub gradient: f64,
    pub iterations: usize,
}

/// Where the search ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimum {
    pub at: Vec<f64>,
    pub value: f64,
    pub iterations: usize,
    pub converged: bool,
}

/// Minimises `function` from `start`. `scale` approximates the inverse of its second derivatives by each number, in any unit. `goes_on` is
/// called before each step; where it says no, the search ends.
///
/// # Errors
/// Those of `goes_on`.
pub fn minimised<E>(
    start: Vec<f64>,
    scale: &[f64],
    stop: Stop,
    mut function: impl FnMut(&[f64]) -> Point,
    mut goes_on: impl FnMut() -> Result<bool, E>,
) -> Result<Minimum, E> {
    let (mut at, mut here) = (start.clone(), function(&start));
    let mut memory = Memory::default();
    let mut iterations = 0;
    let mut converged = largest(&here.gradient) <= stop.gradient;
    while !converged && iterations < stop.iterations && goes_on()? {
        let mut direction = memory.direction(&here.gradient, scale);
        if dot(&direction, &here.gradient) >= 0.0 {
            memory = Memory::default();
            direction = memory.direction(&here.gradient, scale);
        }
        let Some((next, there)) = step(&at, &here, &direction, &mut function) else {
            // No length is better: this is as near as the rounding lets it come, or the memory is misleading.
            if memory.pairs.is_empty() {
                break;
            }
            memory = Memory::default();
            continue;
        };
        memory.learn(
            difference(&next, &at),
            difference(&there.gradient, &here.gradient),
            scale,
        );
        (at, here) = (next, there);
        iterations += 1;
        converged = largest(&here.gradient) <= stop.gradient;
    }
    Ok(Minimum {
        at,
        value: here.value,
        iterations,
        converged,
    })
}

/// A point along the direction that meets the conditions of Wolfe, by doubling and halving (Burke, Lewis and Overton; as in Lewis and
/// Overton 2013, "Nonsmooth optimization via quasi-Newton methods", algorithm 2.6).
fn step(
    at: &[f64],
    here: &Point,
    direction: &[f64],
    function: &mut impl FnMut(&[f64]) -> Point,
) -> Option<(Vec<f64>, Point)> {
    let slope = dot(direction, &here.gradient);
    let (mut low, mut high, mut length) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..MOST_LENGTHS {
        let next: Vec<f64> = at
            .iter()
            .zip(direction)
            .map(|(at, way)| at + length * way)
            .collect();
        let there = function(&next);
        let left = dot(direction, &there.gradient);
        let decreases = there.value <= here.value + DECREASE * length * slope;
        let level =
            there.value <= here.value + ROUNDING * here.value.abs() && left <= (2.0 * DECREASE - 1.0) * slope;
        // What is not finite is too far.
        if !(decreases || level) {
            high = length;
        } else if left < SLOPE_LEFT * slope {
            low = length;
        } else {
            return Some((next, there));
        }
        length = if high.is_finite() {
            (low + high) / 2.0
        } else {
            2.0 * low
        };
    }
    None
}

/// The last steps and the changes of the gradient over them.
#[derive(Default)]
struct Memory {
    pairs: VecDeque<Pair>,
    /// How much too long the steps of `scale` are.
    unit: Option<f64>,
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// One over their product.
    inverse: f64,
}

impl Memory {
    /// The gradient multiplied by an approximation of the negative inverse Hessian.
    fn direction(&self, gradient: &[f64], scale: &[f64]) -> Vec<f64> {
        let mut way: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = pair.inverse * dot(&pair.step, &way);
            add(&mut way, -share, &pair.change);
            shares.push(share);
        }
        let unit = self.unit.unwrap_or(1.0);
        way.iter_mut()
            .zip(scale)
            .for_each(|(way, scale)| *way *= unit * scale);
        for (pair, share) in self.pairs.iter().zip(shares.into_iter().rev()) {
            let other = pair.inverse * dot(&pair.change, &way);
            add(&mut way, share - other, &pair.step);
        }
        way
    }

    fn learn(&mut self, step: Vec<f64>, change: Vec<f64>, scale: &[f64]) {
        let product = dot(&step, &change);
        // Otherwise the approximation would not remain positive.
        if product <= f64::EPSILON * dot(&change, &change) {
            return;
        }
        let scaled: f64 = change
            .iter()
            .zip(scale)
            .map(|(change, scale)| change * change * scale)
            .sum();
        self.unit = Some(product / scaled);
        if self.pairs.len() == MEMORY {
            self.pairs.pop_front();
        }
        let inverse = 1.0 / product;
        self.pairs.push_back(Pair {
            step,
            change,
            inverse,
        });
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn add(to: &mut [f64], share: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += share * what);
}

fn difference(one: &[f64], other: &[f64]) -> Vec<f64> {
    one.iter().zip(other).map(|(one, other)| one - other).collect()
}

/// The largest absolute value; infinite where one is not a number.
fn largest(values: &[f64]) -> f64 {
    let absolute = values.iter().map(|value| {
        if value.is_nan() {
            f64::INFINITY
        } else {
            value.abs()
        }
    });
    absolute.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const STOP: Stop = Stop {
        gradient: 1e-10,
        iterations: 1000,
    };

    fn minimum(start: &[f64], scale: &[f64], function: impl FnMut(&[f64]) -> Point) -> Minimum {
        let endless = || Ok::<_, Infallible>(true);
        match minimised(start.to_vec(), scale, STOP, function, endless) {
            Ok(minimum) => minimum,
            Err(never) => match never {},
        }
    }

    /// Rosenbrock 1960.
    fn valley(at: &[f64]) -> Point {
        let (x, y) = (at[0], at[1]);
        let off = y - x * x;
        Point {
            value: (1.0 - x).powi(2) + 100.0 * off * off,
            gradient: vec![-2.0 * (1.0 - x) - 400.0 * x * off, 200.0 * off],
        }
    }

    #[test]
    fn it_follows_a_curved_valley_to_its_end() {
        let found = minimum(&[-1.2, 1.0], &[1.0, 1.0], valley);
        assert!(found.converged && found.iterations < 60, "{found:?}");
        assert!(
            (found.at[0] - 1.0).abs() < 1e-9 && (found.at[1] - 1.0).abs() < 1e-9,
            "{found:?}"
        );
        assert_eq!(found, minimum(&[-1.2, 1.0], &[1.0, 1.0], valley));
    }

    #[test]
    fn a_known_curvature_is_one_step() {
        let curved = [1e-4, 3.0, 5e6];
        let bowl = |at: &[f64]| Point {
            value: at
                .iter()
                .zip(curved)
                .map(|(x, c)| c * (x - 2.0) * (x - 2.0) / 2.0)
                .sum(),
            gradient: at.iter().zip(curved).map(|(x, c)| c * (x - 2.0)).collect(),
        };
        let scale = curved.map(|curvature| 1.0 / curvature);
        let found = minimum(&[0.0; 3], &scale, bowl);
        assert_eq!((found.converged, found.iterations), (true, 1), "{found:?}");
    }

    #[test]
    fn it_ends_where_it_is_told_to() {
        let mut steps = 0;
        let few = || {
            steps += 1;
            Ok::<_, &str>(steps <= 3)
        };
        let found = minimised(vec![-1.2, 1.0], &[1.0, 1.0], STOP, valley, few).unwrap();
        assert_eq!((found.converged, found.iterations), (false, 3));
        let failing = minimised(vec![-1.2, 1.0], &[1.0, 1.0], STOP, valley, || Err("enough"));
        assert_eq!(failing, Err("enough"));
    }

    #[test]
    fn what_is_infinite_is_not_stepped_on() {
        let wall = |at: &[f64]| Point {
            value: at[0] - at[0].ln(),
            gradient: vec![1.0 - 1.0 / at[0]],
        };
        let found = minimum(&[0.01], &[1.0], wall);
        assert!(found.converged && (found.at[0] - 1.0).abs() < 1e-9, "{found:?}");
    }
}
