//! Datasets: how they come in, change from version to version, are looked at and leave again.

mod archives;
mod downloads;
mod hostile;
mod names;
mod preview;
mod readings;
mod uploads;
mod versions;
