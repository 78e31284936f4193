//! Other tasks with the means of training: evaluation, learning rate search, batch prediction, comparison of backbones, previews.

pub mod batch_predict;
pub mod budget;
pub mod compare;
pub mod evaluate;
pub mod latency;
pub mod lr_find;
pub mod outputs;
pub mod preview;
