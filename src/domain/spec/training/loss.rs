//! The loss, and the handling of imbalanced classes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    task::Task,
    task_weights::{self, TaskWeights},
};
use crate::domain::{
    architecture::Architecture,
    spec::{JobSpec, fields::Fields},
};

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
    /// Only for networks with auxiliary heads, `inception_v3` (Szegedy et al. 2016) and `googlenet` (Szegedy et al. 2015): the loss of each
    /// such head counts so much, above 0 and at most 1. They learn with the network, are no part of the model, and are none by default;
    /// torchvision trains with 0.4 and 0.3. Reported losses are those of the model's own head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0.0, maximum = 1.0)]
    pub auxiliary_weight: Option<f64>,
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
    let rule = "must be above 0 and at most 1";
    let auxiliary_weight =
        fields.optional_number("auxiliary_weight", rule, |weight| weight > 0.0 && weight <= 1.0);
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
        auxiliary_weight,
    }
}

/// What auxiliary heads need of the other fields.
pub(in crate::domain::spec) fn check(spec: &JobSpec, root: &mut Fields) {
    if spec.loss.auxiliary_weight.is_none() {
        return;
    }
    let architecture = spec.backbone.architecture;
    let heads = architecture.auxiliary_heads(2);
    let frozen = spec.last_frozen(spec.epochs);
    let learns = |stage| frozen.is_none_or(|frozen| stage > frozen);
    let fault = if heads.is_empty() {
        format!(
            "{architecture} has no auxiliary heads; only {} and {} have them",
            Architecture::InceptionV3,
            Architecture::Googlenet
        )
    } else if !heads.iter().any(|head| learns(head.begins.stage)) {
        "auxiliary heads teach the layers before them, and all of these are frozen; set `freeze` to `none` or to an earlier stage"
            .to_owned()
    } else if let Err(fault) = architecture.check_auxiliary_size(spec.image.size) {
        let rule = fault.rule(architecture);
        format!("`image.size` {rule} with auxiliary heads; leave this field out for smaller images")
    } else {
        return;
    };
    root.object(JobSpec::LOSS)
        .fault("auxiliary_weight", "conflict", fault);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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

    #[test]
    fn auxiliary_heads_need_a_network_that_has_them_and_layers_to_teach() {
        let parsed = |architecture: &str, fields: Value| {
            let mut spec = json!({
                "dataset": "d", "freeze": "none", "loss": {"auxiliary_weight": 0.4},
                "backbone": {"architecture": architecture, "weights": "own.pth"},
            });
            for (name, value) in fields.as_object().unwrap() {
                spec[name] = value.clone();
            }
            let spec = JobSpec::parse(&spec);
            spec.map_err(|faults| faults.into_iter().map(|fault| fault.message).collect::<String>())
        };
        let spec = parsed("inception_v3", json!({})).unwrap();
        assert_eq!(spec.loss.auxiliary_weight, Some(0.4));
        assert!(parsed("googlenet", json!({"image": {"size": 64}})).is_ok());
        assert!(parsed("inception_v3", json!({"freeze": {"until": "stage1"}})).is_ok());
        for (architecture, fields, told) in [
            ("resnet18", json!({}), "only inception_v3 and googlenet"),
            ("inception_v3", json!({"freeze": "backbone"}), "frozen"),
            ("googlenet", json!({"freeze": {"until": "stage2"}}), "frozen"),
            ("inception_v3", json!({"image": {"size": 224}}), "at least 299"),
            ("googlenet", json!({"loss": {"auxiliary_weight": 0}}), "above 0"),
        ] {
            let message = parsed(architecture, fields).unwrap_err();
            assert!(message.contains(told), "{architecture}: {message}");
        }
    }
}
