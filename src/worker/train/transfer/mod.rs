//! Trainings that learn from more than labelled images: from images of a domain without labels (`adapt`), or from other models (`distill`);
//! and trainings of a backbone that learn from images alone (`pretraining`).
//!
//! `second` is what either adds to a step, as a `term` of the loss; `unlabelled` reads the images that go along; `baseline` is the same
//! training without either, to compare with.

pub mod adapt;
pub mod baseline;
pub mod distill;
pub mod pretraining;
pub mod second;
pub mod term;
pub mod unlabelled;
