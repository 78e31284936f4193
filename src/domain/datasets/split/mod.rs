//! Which images train, which validate, which test, where the dataset does not say so itself.
//!
//! Pure: [`groups`] says which images must stay together, [`stratified`] gives each image its part. Training and evaluation divide with
//! these two, and so does whoever wants to write a division down.

mod division;
mod groups;
mod spec;
mod stratified;

pub use self::{
    division::Split,
    groups::{GroupBy, groups},
    spec::SplitSpec,
    stratified::{Shares, stratified},
};
