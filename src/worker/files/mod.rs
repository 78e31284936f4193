//! Tensors and models as files.

pub mod adapters;
pub mod bundle;
pub mod mapped;
pub mod rows;
pub mod state;
pub mod timm_names;
