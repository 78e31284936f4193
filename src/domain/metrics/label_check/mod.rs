//! Which labels of a dataset are doubtful, as plain 64-bit arithmetic over out-of-fold probabilities and distances between features.
//!
//! The worker computes these; nothing here knows tensors or images. Compared with cleanlab's and scikit-learn's numbers in `tests.rs`.

mod confident;
mod ranking;
#[cfg(test)]
mod tests;
mod unusual;

pub use self::{
    confident::{ConfidentJoint, Judgements},
    ranking::{DoubtReason, Suspect, ranked},
    unusual::{NEIGHBOURS, Neighbours},
};
