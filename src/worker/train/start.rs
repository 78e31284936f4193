//! Where a session begins.

use super::{
    checkpoints::{best::Best, checkpoint::Position, history::ValidationScores},
    progress::meter::Sums,
};
use crate::worker::weights::BaseWeights;

/// Where a session begins.
pub struct Start {
    pub position: Position,
    pub sums: Sums,
    /// Of the epochs before.
    pub history: Vec<ValidationScores>,
    pub best: Option<Best>,
    pub base_weights: BaseWeights,
    /// Of `max_seconds`, as a checkpoint knows it.
    pub seconds_used: f64,
    /// Most images that go through the network together in training.
    pub batch_limit: usize,
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
        }
    }
}
