//! Content-addressed files: archives, what ingest made of them, models. A blob is named by the SHA-256 of its bytes and never changes.
//!
//! Written once: into the spool with a running hash, synced, renamed to its name, the folder synced; only then may a row point to it.
//! A crash therefore leaves at worst a file that no row names, and [`Blobs::sweep`] takes it away: into the trash, where it stays for a
//! while. Paths are built here and nowhere else.
//! (`object_store` is not used for the local disk: it does not sync what it writes, and a finished file cannot be moved into it.)

mod check;
mod folder;
mod looks;
mod partial;
mod placed;
mod spool;
mod spooled;
mod sweep;
#[cfg(test)]
mod tests;
mod trash;
mod writer;

pub use self::{
    folder::{Blobs, Pin},
    partial::{Continuation, Grown},
    spooled::Spooled,
    sweep::{Grace, Swept},
    writer::Writer,
};
