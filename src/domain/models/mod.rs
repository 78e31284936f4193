//! Models: their metadata, names, imports and exports.

pub mod adapter;
pub mod alias;
pub mod comparison;
pub mod export;
pub mod labels;
pub mod lineage;
pub mod model;
pub mod model_import;
pub mod prediction;
pub mod preprocessing;
pub mod pretraining;
pub mod tasks;
