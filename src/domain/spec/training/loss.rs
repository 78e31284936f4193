//! The loss, and the handling of imbalanced classes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    task::Task,
    task_weights::{self, TaskWeights},
};
use crate::domain::spec::fields::Fields;

/// The loss function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossName {
    #[default]
    CrossEntropy,
    /// Cross entropy times (1 - p)^`gamma`, p being the probability of the true class: images that are already classified well count little
    /// (Lin et al. 2017, "Focal Loss for Dense Object Detection").
    Focal,
    /// Of each class by itself, the mean over the classes (as torch.nn.BCEWithLogitsLoss): for images with several labels, where it is the
    /// default.
    BinaryCrossEntropy,
    /// The same where confident answers count little, the more so those for classes that an image does not show (Ridnik et al. 2021,
    /// "Asymmetric Loss For Multi-Label Classification"): for images with several labels of many.
    Asymmetric,
}

impl LossName {
    const ALL: [LossName; 4] = [
        LossName::CrossEntropy,
        LossName::Focal,
        LossName::BinaryCrossEntropy,
        LossName::Asymmetric,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            LossName::CrossEntropy => "cross_entropy",
            LossName::Focal => "focal",
            LossName::BinaryCrossEntropy => "binary_cross_entropy",
            LossName::Asymmetric => "asymmetric",
        }
    }

    /// What it can be the loss of.
    fn tasks(self) -> &'static [Task] {
        match self {
            LossName::CrossEntropy => &[Task::Single, Task::MultiTask],
            LossName::Focal => &[Task::Single],
            LossName::BinaryCrossEntropy | LossName::Asymmetric => &[Task::MultiLabel],
        }
    }
}

/// How imbalanced classes are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Imbalance {
    #[default]
    None,
    /// The loss of an image is weighted inversely to the number of training images of its class (scikit-learn's `balanced`).
    ClassWeights,
    /// Each epoch shows every class equally often: images of rare classes several times, only some of those of frequent classes.
    BalancedSampler,
}

/// The loss function. Validation always reports the plain mean cross entropy (with several labels, the binary one; with several tasks, the
/// mean over the tasks), so that curves of different jobs can be compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LossSpec {
    pub name: LossName,
    /// Only with `cross_entropy`: the part of the target that is spread evenly over all classes, 0 up to, but not including, 1 (Szegedy et
    /// al. 2016, as in torch.nn.CrossEntropyLoss).
    #[schema(minimum = 0.0, exclusive_maximum = 1.0, default = 0.0)]
    pub label_smoothing: f64,
    /// Only with `focal`: 0 to 10; by default 2.
    #[schema(minimum = 0.0, maximum = 10.0)]
    pub gamma: Option<f64>,
    /// Only with `asymmetric`: the part of a class that an image does not show counts p^`gamma_negative`, 0 to 10; by default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.0, maximum = 10.0)]
    pub gamma_negative: Option<f64>,
    /// Only with `asymmetric`: the part of a class that it shows counts (1 - p)^`gamma_positive`, 0 to 10; by default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.0, maximum = 10.0)]
    pub gamma_positive: Option<f64>,
    /// Only with `asymmetric`: probabilities of classes that an image does not show are lowered by this, to no less than 0, so that the
    /// easiest count nothing: 0 up to, but not including, 1; by default 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.0, exclusive_maximum = 1.0)]
    pub clip: Option<f64>,
    pub imbalance: Imbalance,
    /// Only with several tasks: how much each counts; by default all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_weights: Option<TaskWeights>,
}

pub(in crate::domain::spec) fn parse(mut fields: Fields, task: Task) -> LossSpec {
    let names = LossName::ALL.map(|name| (name.as_str(), name));
    let usual = match task {
        Task::Single | Task::MultiTask => LossName::CrossEntropy,
        Task::MultiLabel => LossName::BinaryCrossEntropy,
    };
    let mut name = fields.choice("name", usual, &names);
    if !name.tasks().contains(&task) {
        let rule = format!("only valid with `\"task\": \"{}\"`", name.tasks()[0].as_str());
        fields.fault("name", "conflict", rule);
        name = usual;
    }
    let smoothing_rule = "must be at least 0 and below 1";
    let label_smoothing = fields.number("label_smoothing", 0.0, smoothing_rule, |share| {
        (0.0..1.0).contains(&share)
    });
    if name != LossName::CrossEntropy && label_smoothing > 0.0 {
        let rule = "only valid with `cross_entropy`";
        fields.fault("label_smoothing", "conflict", rule);
    }
    let mut of_loss = |field: &'static str, owner: LossName, usual: f64, rule: &str, highest: f64| {
        if name == owner {
            let valid = |value: f64| (0.0..=highest).contains(&value);
            return Some(fields.number(field, usual, rule, valid));
        }
        if fields.raw(field).is_some() {
            fields.fault(field, "conflict", format!("only valid with `{}`", owner.as_str()));
        }
        None
    };
    let rule = "must be from 0 to 10";
    let gamma = of_loss("gamma", LossName::Focal, 2.0, rule, 10.0);
    let gamma_negative = of_loss("gamma_negative", LossName::Asymmetric, 4.0, rule, 10.0);
    let gamma_positive = of_loss("gamma_positive", LossName::Asymmetric, 0.0, rule, 10.0);
    let below_one = 1.0 - f64::EPSILON;
    let clip = of_loss("clip", LossName::Asymmetric, 0.05, smoothing_rule, below_one);
    let imbalance = [
        ("none", Imbalance::None),
        ("class_weights", Imbalance::ClassWeights),
        ("balanced_sampler", Imbalance::BalancedSampler),
    ];
    let imbalance = fields.choice("imbalance", Imbalance::None, &imbalance);
    let task_weights = task_weights::parse(&mut fields, task);
    fields.finish(&[]);
    LossSpec {
        name,
        label_smoothing,
        gamma,
        gamma_negative,
        gamma_positive,
        clip,
        imbalance,
        task_weights,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::spec::JobSpec;

    #[test]
    fn each_loss_has_settings_of_its_own() {
        let parsed = |loss: &Value| JobSpec::parse(&json!({"dataset": "d", "loss": loss}));
        let focal = parsed(&json!({"name": "focal", "imbalance": "class_weights"}))
            .unwrap()
            .loss;
        assert_eq!(
            (focal.gamma, focal.imbalance),
            (Some(2.0), Imbalance::ClassWeights)
        );
        assert_eq!(
            parsed(&serde_json::to_value(&focal).unwrap()).unwrap().loss,
            focal
        );
        for (loss, pointer) in [
            (json!({"gamma": 2}), "/loss/gamma"),
            (
                json!({"name": "focal", "label_smoothing": 0.1}),
                "/loss/label_smoothing",
            ),
            (json!({"label_smoothing": 1.0}), "/loss/label_smoothing"),
            (json!({"imbalance": "oversample"}), "/loss/imbalance"),
        ] {
            let faults = parsed(&loss).unwrap_err();
            assert_eq!(faults.len(), 1);
            assert_eq!(faults[0].pointer, pointer);
        }
    }
}
