//! The result of a learning rate search: `lr_find.json`, as the worker writes it and the API returns it.
//!
//! Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3; smoothing, stopping rule and suggestions as in fastai.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Weight of earlier losses in the smoothed loss.
const MEMORY: f64 = 0.98;
/// The search ends when the smoothed loss exceeds its minimum by this factor.
const DIVERGED: f64 = 4.0;
/// One in this many points at the beginning is not considered for suggestions: the smoothed loss has not settled.
const FIRST_PART: usize = 10;
/// Points at the end that are not considered for suggestions: the loss is blowing up.
const LAST_POINTS: usize = 5;

/// A step of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LrPoint {
    /// Learning rate of the head.
    pub lr: f64,
    /// For the step's batch.
    pub loss: f64,
    /// Moving average of the losses, each with 0.98 times the weight of the next.
    pub smoothed: f64,
}

/// Learning rates to start with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LrSuggestion {
    /// Where the smoothed loss falls fastest.
    pub steepest: f64,
    /// A tenth of the rate at which the smoothed loss is lowest.
    pub minimum_tenth: f64,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LrFindEnd {
    /// All steps were taken.
    Completed,
    /// The smoothed loss was more than four times its minimum, or not finite.
    Diverged,
}

/// Losses at increasing learning rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LrCurve {
    /// Always `lr_find`.
    #[schema(example = "lr_find")]
    pub object: String,
    pub end: LrFindEnd,
    /// Null where the curve is too short or the loss never falls.
    pub suggestion: Option<LrSuggestion>,
    /// In the order of the steps.
    pub points: Vec<LrPoint>,
}

/// Records a search step by step.
#[derive(Debug, Default)]
pub struct LrSearch {
    points: Vec<LrPoint>,
    mean: f64,
    lowest: Option<f64>,
}

impl LrSearch {
    /// Adds the loss of a step; false if the search should stop because of it. A loss that is not finite adds no point.
    pub fn add(&mut self, lr: f64, loss: f64) -> bool {
        if !loss.is_finite() {
            return false;
        }
        self.mean = MEMORY * self.mean + (1.0 - MEMORY) * loss;
        // Bias correction: otherwise the mean would start near 0.
        let smoothed = self.mean / (1.0 - MEMORY.powi(self.points.len() as i32 + 1));
        self.points.push(LrPoint { lr, loss, smoothed });
        let lowest = self.lowest.map_or(smoothed, |lowest| lowest.min(smoothed));
        self.lowest = Some(lowest);
        smoothed <= DIVERGED * lowest
    }

    /// The whole curve; none where not a single step had a loss.
    pub fn finish(self, end: LrFindEnd) -> Option<LrCurve> {
        (!self.points.is_empty()).then(|| LrCurve {
            object: "lr_find".to_owned(),
            end,
            suggestion: suggestion(&self.points),
            points: self.points,
        })
    }
}

fn suggestion(points: &[LrPoint]) -> Option<LrSuggestion> {
    let first = points.len() / FIRST_PART;
    let points = points.get(first..points.len().saturating_sub(LAST_POINTS))?;
    let slopes = points.windows(2).map(|pair| {
        let slope = (pair[1].smoothed - pair[0].smoothed) / (pair[1].lr / pair[0].lr).ln();
        (slope, pair[0].lr)
    });
    let (slope, steepest) = slopes.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let lowest = points.iter().min_by(|a, b| a.smoothed.total_cmp(&b.smoothed))?;
    (slope < 0.0).then_some(LrSuggestion {
        steepest,
        minimum_tenth: lowest.lr / 10.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss that falls around 1e-2, is lowest near 1e-1 and blows up after it.
    fn loss(lr: f64) -> f64 {
        let decades = lr.log10();
        2.0 - 1.5 / (1.0 + (-4.0 * (decades + 2.0)).exp()) + (5.0 * (decades + 0.2)).exp()
    }

    fn search(steps: u32) -> (LrSearch, LrFindEnd) {
        let mut search = LrSearch::default();
        for step in 0..steps {
            let lr = 1e-6 * 1e8f64.powf(f64::from(step) / f64::from(steps - 1));
            if !search.add(lr, loss(lr)) {
                return (search, LrFindEnd::Diverged);
            }
        }
        (search, LrFindEnd::Completed)
    }

    #[test]
    fn a_search_ends_where_the_loss_blows_up_and_suggests_what_lies_before() {
        let (search, end) = search(400);
        assert_eq!(end, LrFindEnd::Diverged);
        let curve = search.finish(end).unwrap();
        let last = curve.points.last().unwrap();
        let lowest = curve
            .points
            .iter()
            .map(|point| point.smoothed)
            .fold(f64::MAX, f64::min);
        assert!(last.smoothed > 4.0 * lowest);
        let LrSuggestion {
            steepest,
            minimum_tenth,
        } = curve.suggestion.unwrap();
        assert!((5e-3..1e-1).contains(&steepest), "{steepest}");
        assert!((1e-2..1e-1).contains(&minimum_tenth), "{minimum_tenth}");
    }

    #[test]
    fn the_smoothed_loss_of_a_constant_is_that_constant() {
        let mut search = LrSearch::default();
        for step in 1..=30 {
            assert!(search.add(f64::from(step), 0.7));
        }
        let curve = search.finish(LrFindEnd::Completed).unwrap();
        assert!(
            curve
                .points
                .iter()
                .all(|point| (point.smoothed - 0.7).abs() < 1e-12)
        );
    }

    #[test]
    fn a_curve_that_only_rises_or_is_too_short_suggests_nothing() {
        let mut rising = LrSearch::default();
        for step in 1..=40 {
            let lr = f64::from(step);
            rising.add(lr, 1.0 + lr / 100.0);
        }
        assert_eq!(rising.finish(LrFindEnd::Completed).unwrap().suggestion, None);
        let mut short = LrSearch::default();
        assert!(short.add(0.1, 1.0) && !short.add(0.2, f64::NAN));
        let curve = short.finish(LrFindEnd::Diverged).unwrap();
        assert_eq!((curve.points.len(), curve.suggestion), (1, None));
        assert_eq!(LrSearch::default().finish(LrFindEnd::Diverged), None);
    }
}
