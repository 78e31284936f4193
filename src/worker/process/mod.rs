//! Every child of the server as a process: pipes, parent, full disks, files from the server.

pub mod child;
pub mod disk;
pub mod parent;
pub mod run_dir;
pub mod stored;
