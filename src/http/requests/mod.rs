//! What every request goes through, and what handlers take out of one.

pub mod admission;
pub mod extract;
pub mod form;
pub mod guard;
pub mod json;
pub mod lingering;
pub mod nulls;
pub mod precondition;
pub mod schemas;
pub mod waiting;
pub mod whole;
