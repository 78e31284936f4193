//! Unsupervised domain adaptation: what a training does with the images of a target domain.
//!
//! `alignment` and `losses` bring their features together with those of the labelled images, step by step;
//! `statistics` measures BatchNorm on them; `score` says how good the model is on them, and `domains` how well the two domains can be told
//! apart.
//!
//! The images of the two domains go through the network one after the other: BatchNorm normalises each domain by its own statistics, and the
//! running ones, which the model is used with, are those of the target (as Chang et al. 2019, "Domain-Specific Batch Normalization for
//! Unsupervised Domain Adaptation").

pub mod alignment;
mod domains;
mod losses;
pub mod score;
pub mod statistics;
