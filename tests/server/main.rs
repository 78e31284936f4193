//! The server over a real socket, with the real worker: what a person, a script or a hostile client sees of it.

mod support;

mod data;
mod datasets;
mod documentation;
mod http;
mod jobs;
mod models;
mod people;
mod predictions;
mod sources;

// What the worker's builders of archives, which `hostile` takes in, know by this name.
use finetuned::domain;
