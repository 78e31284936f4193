//! The settings of a training, field by field.

pub mod adapt;
pub mod at_once;
pub mod augment;
pub mod backbone;
pub mod distill;
pub mod domain_adaptation;
pub mod early_stopping;
pub mod freeze;
pub mod head;
pub mod image_spec;
pub mod loss;
pub mod optimizer;
pub mod precision;
pub mod schedule;
pub mod task;
pub mod task_weights;
