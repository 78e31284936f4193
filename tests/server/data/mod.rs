//! The data directory: what outlives a stop, a kill, a full disk, flipped bits and somebody else's database.

mod data_directory;
mod durability;
mod full_disk;
mod integrity;
mod upkeep;
