//! `/v1/jobs`: submitting jobs, watching them and reading their results.

pub mod curves;
pub mod events;
mod expectation;
pub mod job;
pub mod predictions;
pub mod results;
pub mod submission;
pub mod tensorboard;
