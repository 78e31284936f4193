//! The starting point of a session.

use super::{best::Best, checkpoint::Position, history::ValidationScores};
use crate::{
    domain::jobs::baseline::Baseline,
    worker::{train::progress::meter::Sums, weights::BaseWeights},
};

/// The starting point of a session.
pub struct Start {
    pub position: Position,
    pub sums: Sums,
    /// Of the earlier epochs.
    pub history: Vec<ValidationScores>,
    pub best: Option<Best>,
    pub base_weights: BaseWeights,
    /// Time used of `max_seconds`, according to the checkpoint.
    pub seconds_used: f64,
    /// Largest micro-batch in training.
    pub batch_limit: usize,
    /// The training without adaptation that came before, if one did.
    pub baseline: Option<Baseline>,
}

impl Start {
    pub fn at_the_beginning(base_weights: BaseWeights, batch_size: usize) -> Self {
        Self {
            position: Position::START,
            sums: Sums::default(),
            history: Vec::new(),
            batch_limit: batch_size,
            best: None,
            base_weights,
            seconds_used: 0.0,
            baseline: None,
        }
    }

    /// The same after a training without adaptation.
    pub fn after(self, baseline: Baseline) -> Self {
        Self {
            seconds_used: baseline.seconds,
            baseline: Some(baseline),
            ..self
        }
    }
}
