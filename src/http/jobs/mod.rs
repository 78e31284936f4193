//! `/v1/jobs`: submitting, watching and reading what came of them.

pub mod curves;
pub mod events;
pub mod job;
pub mod predictions;
pub mod results;
pub mod submission;
