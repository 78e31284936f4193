//! The documents say what is so: every command in them runs as it stands, and their tables leave nothing out.

mod commands;
mod flowers;
mod links;
mod problems;
mod reference;
mod tables;
