//! The domain as plain data and rules: datasets, job specs, job states, events, models.
//!
//! Nothing here reads a file, a clock (except [`time::Timestamp::now`]) or a socket, and nothing is async.

pub mod access;
pub mod architecture;
pub mod damage;
pub mod data_directory;
pub mod datasets;
pub mod id;
pub mod jobs;
pub mod metrics;
pub mod models;
pub mod name;
pub mod page;
pub mod random;
pub mod retention;
pub mod schema;
pub mod sinks;
pub mod spec;
pub mod tag;
pub mod time;
pub mod trace;
