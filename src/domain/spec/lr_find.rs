//! The spec of a learning rate search: that of a training, and the range of rates.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    DeviceChoice, JobSpec,
    fields::Fields,
    job_fields::{JobFields, KindSpec, job_fields},
};
use crate::{
    domain::{datasets::dataset::Dataset, models::model::Model, name::Name},
    error::FieldError,
};

/// The learning rates to try: `steps` of them from `min_lr` to `max_lr`, each the same multiple of the previous one (Smith 2017, "Cyclical
/// Learning Rates for Training Neural Networks", section 3.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LrRange {
    /// Learning rate of the head at the first step, above 0.
    #[schema(exclusive_minimum = 0.0, maximum = 100.0, default = 1e-6)]
    pub min_lr: f64,
    /// At the last step, at most 100.
    #[schema(exclusive_minimum = 0.0, maximum = 100.0, default = 1.0)]
    pub max_lr: f64,
    /// 20 to 10000.
    #[schema(minimum = 20, maximum = 10000, default = 100)]
    pub steps: u32,
}

impl LrRange {
    /// The learning rate of a step, from 0.
    pub fn lr(&self, step: u32) -> f64 {
        let way = f64::from(step) / f64::from(self.steps - 1);
        self.min_lr * (self.max_lr / self.min_lr).powf(way)
    }
}

/// A checked spec of a learning rate search: the fields of the training that it is for, and `lr_find`. Fields that only matter after the
/// first steps of a training (`epochs`, `optimizer.lr`) have no effect here, so that its spec can be sent unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LrFindSpec {
    #[serde(flatten)]
    pub train: JobSpec,
    pub lr_find: LrRange,
}

impl JobFields for LrFindSpec {
    job_fields!(train);

    fn training(&self) -> Option<&JobSpec> {
        Some(&self.train)
    }

    fn training_mut(&mut self) -> Option<&mut JobSpec> {
        Some(&mut self.train)
    }

    fn dataset_faults(&self, dataset: &Dataset, _: Option<&Model>) -> Vec<FieldError> {
        dataset.faults_for(&self.train)
    }
}

impl KindSpec for LrFindSpec {
    const REQUIRED: &'static [&'static str] = &["kind", "dataset"];
    const DESCRIPTION: &'static str = "The training to find a learning rate for, and which rates to try.";
    const ACTION: &'static str = "looks for a learning rate for";

    fn read(root: &mut Fields) -> Self {
        let train = JobSpec::read(root);
        if train.head.is_made_at_once() {
            let message =
                "a head without a learning rate needs no search for one; use a head that `sgd` trains";
            let mut head = root.object("head");
            let field = if head.raw("solver").is_some() {
                "solver"
            } else {
                "kind"
            };
            head.fault(field, "conflict", message);
        }
        for (name, is_given) in [
            ("domain_adaptation", train.domain_adaptation.is_some()),
            ("distill", train.distill.is_some()),
        ] {
            if is_given {
                let message = "the search trains on the labelled images alone; leave it out";
                root.fault(name, "conflict", message);
            }
        }
        Self {
            train,
            lr_find: parse(root.object("lr_find")),
        }
    }
}

fn parse(mut fields: Fields) -> LrRange {
    let rule = "must be > 0 and at most 100";
    let usable = |lr: f64| lr > 0.0 && lr <= 100.0;
    let range = LrRange {
        min_lr: fields.number("min_lr", 1e-6, rule, usable),
        max_lr: fields.number("max_lr", 1.0, rule, usable),
        steps: fields.integer("steps", 100, 20, 10_000) as u32,
    };
    if range.min_lr >= range.max_lr {
        fields.fault("max_lr", "conflict", "must be larger than `min_lr`");
    }
    fields.finish(&[]);
    range
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Spec, *};

    #[test]
    fn rates_grow_by_one_factor_from_first_to_last() {
        let range = LrRange {
            min_lr: 1e-6,
            max_lr: 1.0,
            steps: 25,
        };
        assert_eq!(range.lr(0), 1e-6);
        assert!((range.lr(24) - 1.0).abs() < 1e-12);
        assert!((range.lr(12) - 1e-3).abs() < 1e-12);
    }

    #[test]
    fn a_range_that_does_not_grow_is_refused() {
        for range in [
            json!({"min_lr": 0.1, "max_lr": 0.1}),
            json!({"min_lr": 2}),
            json!({"steps": 3}),
        ] {
            let document = json!({"kind": "lr_find", "dataset": "d", "lr_find": range});
            assert_eq!(Spec::parse(&document).unwrap_err().len(), 1, "{range}");
        }
    }
}
