//! What a run keeps of itself: checkpoints, the best epoch, the history.

pub mod best;
pub mod checkpoint;
pub mod history;
pub mod writer;
