//! The learning rate schedule.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::spec::fields::Fields;

/// The shape of the learning rate over the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleName {
    #[default]
    Constant,
    /// Multiplied by `gamma` every `step_epochs` epochs (as torch's StepLR).
    Step,
    /// Down to 0 along half a cosine (Loshchilov and Hutter 2017, as torch's CosineAnnealingLR).
    Cosine,
    /// Up from 1/25 of `lr`, then down to 1/250000 of it, both along half a cosine (Smith 2018, as torch's OneCycleLR).
    OneCycle,
    /// Multiplied by `gamma` whenever the monitored metric has not improved for more than `patience` epochs (as torch's ReduceLROnPlateau).
    Plateau,
}

/// The learning rate schedule. It is a function of the step alone, with `plateau` also of the results of earlier epochs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleSpec {
    pub name: ScheduleName,
    /// Epochs, or fractions of one, in which the rate rises linearly to `lr` before the schedule begins, 0 to 10000. With `one_cycle`,
    /// which has its own warmup: the length of that, 0 meaning 30 % of all steps.
    #[schema(minimum = 0.0, maximum = 10000.0, default = 0.0)]
    pub warmup_epochs: f64,
    /// Only with `step`: 1 to 10000; by default 7.
    #[schema(minimum = 1, maximum = 10000)]
    pub step_epochs: Option<u32>,
    /// Only with `step` and `plateau`: above 0, below 1; by default 0.1.
    #[schema(exclusive_minimum = 0.0, exclusive_maximum = 1.0)]
    pub gamma: Option<f64>,
    /// Only with `plateau`: epochs that may pass without an improvement, 0 to 10000; by default 10. An improvement is at least one part in
    /// 10000. The metric is `early_stopping.monitor`, or the validation loss.
    #[schema(minimum = 0, maximum = 10000)]
    pub patience: Option<u32>,
}

pub(in crate::domain::spec) fn parse(mut fields: Fields, epochs: u32) -> ScheduleSpec {
    use ScheduleName::{Constant, Cosine, OneCycle, Plateau, Step};
    let names = [
        ("constant", Constant),
        ("step", Step),
        ("cosine", Cosine),
        ("one_cycle", OneCycle),
        ("plateau", Plateau),
    ];
    let name = fields.choice("name", Constant, &names);
    let mut schedule = ScheduleSpec {
        name,
        warmup_epochs: fields.number("warmup_epochs", 0.0, "must be from 0 to 10000", |warmup| {
            (0.0..=10_000.0).contains(&warmup)
        }),
        ..ScheduleSpec::default()
    };
    if schedule.warmup_epochs >= f64::from(epochs) {
        fields.fault("warmup_epochs", "conflict", "must be fewer than `epochs`");
    }
    if name == Step {
        schedule.step_epochs = Some(fields.integer("step_epochs", 7, 1, 10_000) as u32);
    }
    if matches!(name, Step | Plateau) {
        let gamma = fields.number("gamma", 0.1, "must be > 0 and below 1", |gamma| {
            gamma > 0.0 && gamma < 1.0
        });
        schedule.gamma = Some(gamma);
    }
    if name == Plateau {
        schedule.patience = Some(fields.integer("patience", 10, 0, 10_000) as u32);
    }
    refuse_others(&mut fields, &schedule);
    fields.finish(&[]);
    schedule
}

/// A setting that the schedule does not use is a misunderstanding.
fn refuse_others(fields: &mut Fields, schedule: &ScheduleSpec) {
    for (field, is_used, of) in [
        ("step_epochs", schedule.step_epochs.is_some(), "`step`"),
        ("gamma", schedule.gamma.is_some(), "`step` and `plateau`"),
        ("patience", schedule.patience.is_some(), "`plateau`"),
    ] {
        if !is_used && fields.raw(field).is_some() {
            fields.fault(field, "conflict", format!("only valid with {of}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::spec::JobSpec;

    fn parsed(schedule: Value) -> Result<ScheduleSpec, Vec<String>> {
        let told = |faults: Vec<crate::error::FieldError>| {
            let told = faults
                .into_iter()
                .map(|fault| format!("{} {}", fault.pointer, fault.code));
            told.collect()
        };
        let spec = JobSpec::parse(&json!({"dataset": "d", "schedule": schedule}));
        spec.map(|spec| spec.schedule).map_err(told)
    }

    #[test]
    fn each_schedule_has_settings_of_its_own() {
        let step = parsed(json!({"name": "step"})).unwrap();
        assert_eq!(
            (step.step_epochs, step.gamma, step.patience),
            (Some(7), Some(0.1), None)
        );
        let plateau = parsed(json!({"name": "plateau", "warmup_epochs": 0.5})).unwrap();
        assert_eq!(
            (plateau.step_epochs, plateau.gamma, plateau.patience),
            (None, Some(0.1), Some(10))
        );
        assert_eq!(parsed(serde_json::to_value(&plateau).unwrap()).unwrap(), plateau);
        for (schedule, fault) in [
            (json!({"gamma": 0.1}), "/schedule/gamma conflict"),
            (
                json!({"name": "cosine", "step_epochs": 3}),
                "/schedule/step_epochs conflict",
            ),
            (
                json!({"name": "step", "patience": 3}),
                "/schedule/patience conflict",
            ),
            (json!({"name": "step", "gamma": 1}), "/schedule/gamma range"),
            (json!({"warmup_epochs": 10}), "/schedule/warmup_epochs conflict"),
            (json!({"name": "linear"}), "/schedule/name range"),
        ] {
            assert_eq!(parsed(schedule.clone()).unwrap_err(), [fault], "{schedule}");
        }
    }
}
