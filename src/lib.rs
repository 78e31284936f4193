//! finetuned: a self-hosted server that turns a folder of labelled images into a served classifier.
//!
//! Two programs share this library. `finetuned` owns the network, the database and the blobs, and never touches a tensor, an image or an
//! archive. `finetuned-worker` does all of that in supervised child processes that own nothing but a directory and a pipe.
//!
//! Reading order: [`domain`] (plain data and rules), [`protocol`] (what the two programs say to each other), then the server side:
//! [`store`], [`blobs`], [`data_dir`], [`uploads`], [`jobs`], [`inference`], [`http`]. The worker's code, `src/worker`, is compiled into
//! its own program and not into this library, so torch cannot get into the server. Dependencies go one way: `http -> {uploads, jobs,
//! inference, data_dir} -> {store, blobs, protocol} -> domain`, and `worker -> {protocol, domain}`. A test reads the sources and enforces
//! it.

pub mod domain;
pub mod error;
pub mod files;
pub mod limits;
pub mod protocol;

pub mod blobs;
pub mod client;
pub mod config;
pub mod data_dir;
pub mod http;
pub mod inference;
pub mod jobs;
pub mod manifest;
pub mod process;
pub mod store;
pub mod uploads;

#[cfg(test)]
mod fixtures;
