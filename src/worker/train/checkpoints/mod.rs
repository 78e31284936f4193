//! What a run stores: checkpoints, the best epoch, the history.

pub mod best;
pub mod checkpoint;
pub mod history;
pub mod start;
pub mod writer;
