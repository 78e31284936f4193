//! The server over a real socket, with the real worker: what a person, a script or a hostile client sees of it.

mod support;

mod architecture;
mod architectures;
mod batch_predict;
mod children;
mod circles;
mod commands;
mod connections;
mod dashboard;
mod data_directory;
mod datasets;
mod documentation;
mod downloads;
mod durability;
mod errors;
mod events;
mod exports;
mod framing;
mod full_disk;
mod hostile;
mod imports;
mod integrity;
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
