//! Other tasks with the means of training: evaluation, learning rate search, batch prediction, previews.

pub mod batch_predict;
pub mod budget;
pub mod evaluate;
pub mod lr_find;
pub mod outputs;
pub mod preview;
