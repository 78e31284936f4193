//! The two views of images.

use tch::Tensor;

/// What is made of both views of some images: a row for each, in the same order.
pub type Views<'a> = [&'a Tensor; 2];
