//! HTTP as such: connections, what is read from them, and how errors are told.

mod connections;
mod errors;
mod framing;
