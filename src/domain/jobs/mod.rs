//! Jobs: their states, what they tell while they run, what they find.

pub mod evaluation;
pub mod event;
pub mod job;
pub mod ledger;
pub mod lr_curve;
pub mod predictions;
