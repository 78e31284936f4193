//! The worker's real binary, driven over pipes and directories as the server does it, with nothing in its environment.

mod child;
mod confined;
mod devices;
mod drawn;
mod jobs;
mod parent;
mod predict;
