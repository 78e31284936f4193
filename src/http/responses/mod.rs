//! Responses: problems, files, byte ranges.

pub mod blob_file;
pub mod download;
pub mod event_file;
pub mod problem;
pub mod range;
pub mod refusals;
mod unsatisfied;
pub mod zip_stream;
