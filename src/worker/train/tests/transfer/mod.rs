//! Trainings that learn from more than labels, and those that train an adapter.

mod adapt;
mod adapter;
mod distill;
mod pretrain;

use super::{accuracy, drawn, epochs, failed, files_of, resume, trained, warnings, weights};
