//! The server over a real socket, with the real worker: what a person, a script or a hostile client sees of it.

mod support;

mod architecture;
mod architectures;
mod batch_predict;
mod children;
mod commands;
mod dashboard;
mod datasets;
mod downloads;
mod durability;
mod errors;
mod events;
mod exports;
mod hostile;
mod imports;
mod jobs;
mod measure;
mod models;
mod predictions;
mod preview;
mod programs;
mod protocols;
mod registry;
mod story;
mod uploads;
mod versions;

// What the worker's builders of archives, which `hostile` takes in, know by this name.
use finetuned::domain;
