//! Rows of who may do what.

pub mod answers;
pub mod audit;
pub mod keys;
pub mod quotas;
