//! Which images are for training, validation and testing, where the dataset does not say so itself.
//!
//! Pure: [`groups`] says which images must stay together, [`stratified`] assigns each image its split. Training and evaluation use these
//! two, and so does code that stores an assignment. [`folds`] divides for cross-validation.

mod division;
mod folds;
mod groups;
mod rarest;
mod spec;
mod stratified;

pub use self::{
    division::{Split, SplitCounts},
    folds::{ClassTooSmall, folds},
    groups::{GroupBy, groups},
    rarest::rarest_labels,
    spec::SplitSpec,
    stratified::{Shares, stratified},
};
