//! What specs of jobs have in common, whatever their kind.

use utoipa::ToSchema;

use super::{Backbone, DeviceChoice, JobSpec, fields::Fields};
use crate::{
    domain::{datasets::dataset::Dataset, models::model::Model, name::Name},
    error::FieldError,
};

/// What a job of any kind has in common with the others.
pub trait JobFields: Send + Sync {
    fn name(&self) -> Option<&Name>;

    /// Id or name of the dataset.
    fn dataset(&self) -> &str;

    fn device(&self) -> DeviceChoice;

    fn priority(&self) -> i32;

    fn max_seconds(&self) -> Option<u64>;

    fn max_attempts(&self) -> u32;

    /// The fields of a training, where it is one or is like one.
    fn training(&self) -> Option<&JobSpec> {
        None
    }

    /// The name of the model that it makes of this dataset; none where it makes none.
    fn model_name(&self, dataset: &Name) -> Option<Name> {
        self.training().map(|training| training.model_name(dataset))
    }

    fn training_mut(&mut self) -> Option<&mut JobSpec> {
        None
    }

    /// The backbones with base weights, each with its JSON pointer.
    fn backbones_mut(&mut self) -> Vec<(String, &mut Backbone)> {
        let training = self.training_mut().into_iter();
        training
            .map(|training| ("/backbone".to_owned(), &mut training.backbone))
            .collect()
    }

    /// The models that it learns from: id or name of each, with its JSON pointer.
    fn teachers_mut(&mut self) -> Vec<(String, &mut String)> {
        let distill = self.training_mut().and_then(|training| training.distill.as_mut());
        let teachers = distill
            .into_iter()
            .flat_map(|distill| distill.teacher.iter_mut().enumerate());
        teachers
            .map(|(number, teacher)| (format!("/distill/teacher/{number}"), teacher))
            .collect()
    }

    /// Id or name of the model that it uses.
    fn model_mut(&mut self) -> Option<&mut String> {
        None
    }

    /// Why it cannot work on this dataset, with this model where it uses one.
    fn dataset_faults(&self, dataset: &Dataset, model: Option<&Model>) -> Vec<FieldError>;
}

/// [`JobFields`] out of fields of the same names, of the spec itself or of one in it.
macro_rules! job_fields {
    ($($inner:ident)?) => {
        fn name(&self) -> Option<&Name> {
            self.$($inner.)?name.as_ref()
        }

        fn dataset(&self) -> &str {
            &self.$($inner.)?dataset
        }

        fn device(&self) -> DeviceChoice {
            self.$($inner.)?device
        }

        fn priority(&self) -> i32 {
            self.$($inner.)?priority
        }

        fn max_seconds(&self) -> Option<u64> {
            self.$($inner.)?max_seconds
        }

        fn max_attempts(&self) -> u32 {
            self.$($inner.)?max_attempts
        }
    };
}

pub(super) use job_fields;

/// The spec of one kind of job.
pub trait KindSpec: JobFields + ToSchema + Sized {
    /// Fields without a default.
    const REQUIRED: &'static [&'static str];
    /// What the spec says, for callers.
    const DESCRIPTION: &'static str;
    /// What the job does to what it is named after, such as "trains the model".
    const ACTION: &'static str;
    /// Fields of the contract that are not built yet: they are refused by name.
    const PLANNED: &'static [&'static str] = &[];

    /// Reads the fields; `kind` and the end of the object are the caller's.
    fn read(root: &mut Fields) -> Self;
}
