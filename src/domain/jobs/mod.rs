//! Jobs: their states, events and results.

pub mod adaptation;
pub mod baseline;
pub mod comparison;
pub mod cross_validation;
pub mod distillation;
pub mod evaluation;
pub mod event;
pub mod expected;
pub mod job;
pub mod label_check;
pub mod ledger;
pub mod line;
pub mod lr_curve;
pub mod predictions;
pub mod scalars;
