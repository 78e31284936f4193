//! What the product is about, as plain data and rules: datasets, job specs, job states, events, models.
//!
//! Nothing here reads a file, a clock (except [`time::Timestamp::now`]) or a socket, and nothing is async.

pub mod alias;
pub mod architecture;
pub mod archive;
pub mod class_name;
pub mod content;
pub mod damage;
pub mod data_directory;
pub mod dataset;
pub mod evaluation;
pub mod event;
pub mod export;
pub mod image_folder;
pub mod job;
pub mod ledger;
pub mod lineage;
pub mod lr_curve;
pub mod metrics;
pub mod model;
pub mod model_import;
pub mod name;
pub mod page;
pub mod predictions;
pub mod preprocessing;
pub mod random;
pub mod spec;
pub mod split;
pub mod time;
pub mod upload;
pub mod version;
