//! What else is done with the means of training: measuring, searching a learning rate, predicting a whole dataset, previews.

pub mod batch_predict;
pub mod budget;
pub mod evaluate;
pub mod lr_find;
pub mod outputs;
pub mod preview;
