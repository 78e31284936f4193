//! What is around every one-shot child: its folder, its life, its log, its end.

pub mod child;
pub mod failure;
pub mod leftovers;
pub mod paths;
pub mod supervisor;
pub mod waited;
