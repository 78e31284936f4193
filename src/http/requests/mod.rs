//! Middleware for all requests, and extractors for handlers.

pub mod admission;
pub mod base64_text;
mod conditions;
pub mod duplicates;
pub mod encoding;
pub mod extract;
pub mod form;
mod forwarded;
pub mod guard;
pub mod json;
pub mod lingering;
pub mod nulls;
pub mod outside;
pub mod precondition;
pub mod schemas;
pub mod trace;
pub mod waiting;
pub mod whole;
