//! What every child of the server does as a process: pipes, parent, full disks, files that the server gave it.

pub mod child;
pub mod disk;
pub mod parent;
pub mod run_dir;
pub mod stored;
