//! What a run tells while it goes on, and how it can end early.

pub mod halt;
pub mod meter;
pub mod pulse;
pub mod remarks;
pub mod reporter;
