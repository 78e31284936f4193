//! Which images are for training, validation and testing, where the dataset does not say so itself.
//!
//! Pure: [`groups`] says which images must stay together, [`stratified`] assigns each image its split. Training and evaluation use these
//! two, and so does code that stores an assignment.

mod division;
mod groups;
mod spec;
mod stratified;

pub use self::{
    division::{Split, SplitCounts},
    groups::{GroupBy, groups},
    spec::SplitSpec,
    stratified::{Shares, stratified},
};
