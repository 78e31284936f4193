//! What a run reports while it works, and how it can end early.

pub mod halt;
pub mod meter;
pub mod pulse;
pub mod remarks;
pub mod reporter;
