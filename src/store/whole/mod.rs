//! The database as a whole: which data directory it belongs to, copies of it, the schemas that it went through.

pub mod copies;
pub mod identity;
#[cfg(test)]
mod schemas;
