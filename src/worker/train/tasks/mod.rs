//! Other tasks with the means of training: evaluation, learning rate search, batch prediction, comparison of backbones, label checks,
//! cross-validation, pretraining, previews.

pub mod batch_predict;
pub mod budget;
pub mod compare;
pub mod cross_validate;
pub mod evaluate;
mod folds;
pub mod label_check;
pub mod latency;
pub mod lr_find;
mod neighbours;
pub mod outputs;
pub mod pretrain;
pub mod preview;
