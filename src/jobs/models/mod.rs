//! Models written as other programs take them, and brought in from elsewhere.

pub mod exports;
pub mod importing;
