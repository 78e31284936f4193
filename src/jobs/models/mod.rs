//! Exports and imports of models.

pub mod exports;
pub mod importing;
