//! Rows of who may do what.

pub mod keys;
pub mod quotas;
