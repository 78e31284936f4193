//! Models: what is known of one, how it is named, brought in and taken away.

pub mod alias;
pub mod export;
pub mod lineage;
pub mod model;
pub mod model_import;
pub mod prediction;
pub mod preprocessing;
