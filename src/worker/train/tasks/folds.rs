//! The images of a job in folds, each of which is judged by a head that was made of the others.

use crate::{
    domain::{
        datasets::{
            faults::too_few_for_folds,
            split::{self, GroupBy},
        },
        jobs::job::FailureCode,
    },
    worker::train::{input::data::Data, progress::halt::Halt},
};

/// Which images can be divided how: the training images of [`Data`], by their places.
pub struct Divisible<'a> {
    classes: &'a [String],
    pub labels: Vec<u32>,
    /// Images of one group stay together.
    pub groups: Vec<u32>,
}

/// The fold of each image.
pub struct Folds {
    fold_of: Vec<u32>,
}

impl<'a> Divisible<'a> {
    /// `classes` are the names of the dataset's classes.
    pub fn of(data: &Data, classes: &'a [String], group_by: Option<&GroupBy>) -> Self {
        let images = data.train.iter().map(|sample| &data.images[sample.image]);
        let named = images.map(|image| (image.path.as_str(), image.sha256.as_str()));
        Self {
            groups: split::groups(named, group_by),
            labels: data.train.iter().map(|sample| sample.class).collect(),
            classes,
        }
    }

    /// # Errors
    /// `invalid_data` if a class cannot be in every fold, with what to change.
    pub fn folds(&self, count: u32, seed: u64) -> Result<Folds, Halt> {
        let divided = split::folds(&self.labels, &self.groups, count, seed);
        let fold_of = divided.map_err(|fault| {
            let class = &self.classes[fault.class as usize];
            let message = too_few_for_folds(class, fault.groups.into(), count);
            Halt::failed(FailureCode::InvalidData, message)
        })?;
        Ok(Folds { fold_of })
    }
}

impl Folds {
    /// Places of the images outside of a fold, and of those in it.
    pub fn apart(&self, fold: u32) -> (Vec<usize>, Vec<usize>) {
        (0..self.fold_of.len()).partition(|&place| self.fold_of[place] != fold)
    }
}
