//! Rows of jobs: submitted, queued and claimed, ended; and their events.

pub mod ends;
pub mod events;
pub mod job;
pub mod places;
pub mod queue;
pub mod recent;
pub mod retention;
