//! What a person should know about a dataset: what was left out and why, what is doubtful.

pub mod catalogue;
pub mod checks;
mod found;
pub mod kinds;
pub mod near;
pub mod sentences;
pub mod stored;
pub mod twins;
pub mod understanding;
pub mod warnings;
