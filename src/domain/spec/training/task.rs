//! What a training tells of an image: its class, all of its labels, or the answers to several questions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::spec::{HeadSpec, Imbalance, JobSpec, LossName, fields::Fields};

/// What the model tells of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Its class: probabilities are a softmax and sum to 1.
    #[default]
    Single,
    /// All classes that it shows: each has a probability of its own, a sigmoid, and a threshold that is chosen on the validation images.
    MultiLabel,
    /// The answer to each of several questions, such as shape and colour: probabilities are a softmax over the classes of each task. A label
    /// that an image lacks does not count.
    MultiTask,
}

impl Task {
    pub fn is_single(&self) -> bool {
        *self == Task::Single
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Task::Single => "single",
            Task::MultiLabel => "multi_label",
            Task::MultiTask => "multi_task",
        }
    }
}

pub(in crate::domain::spec) fn parse(root: &mut Fields) -> Task {
    let tasks = [Task::Single, Task::MultiLabel, Task::MultiTask].map(|task| (task.as_str(), task));
    root.choice("task", Task::Single, &tasks)
}

/// What several labels, or tasks, need of the other fields.
pub(in crate::domain::spec) fn check(spec: &JobSpec, root: &mut Fields) {
    if spec.task.is_single() {
        return;
    }
    if spec.head.is_made_at_once() {
        let (field, message) = of_head(&spec.head, spec.task);
        root.object("head").fault(field, "conflict", message);
    }
    for (name, is_given) in [
        ("domain_adaptation", spec.domain_adaptation.is_some()),
        ("distill", spec.distill.is_some()),
    ] {
        if is_given {
            let message = "only valid with `\"task\": \"single\"`; leave it out";
            root.fault(name, "conflict", message);
        }
    }
    if spec.loss.imbalance != Imbalance::None {
        let message = match spec.task {
            Task::MultiTask => {
                "images are of a class in each task; leave it out, or weight the tasks by `task_weights`"
                    .to_owned()
            }
            _ => format!(
                "images with several labels are of several classes; the loss `{}` has the same aim",
                LossName::Asymmetric.as_str()
            ),
        };
        root.object("loss").fault("imbalance", "conflict", message);
    }
}

fn of_head(head: &HeadSpec, task: Task) -> (&'static str, String) {
    let task = task.as_str();
    match head.kind.learns() {
        true => (
            "solver",
            format!(
                "`lbfgs` makes heads that tell one class of each image; with `\"task\": \"{task}\"` use the solver `sgd`"
            ),
        ),
        false => (
            "kind",
            format!("tells one class of each image; with `\"task\": \"{task}\"` use `linear` or `mlp`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::spec::training::head::tests::parsed;

    #[test]
    fn several_labels_have_losses_of_their_own() {
        let spec = parsed(json!({"task": "multi_label"})).unwrap();
        assert_eq!(
            (spec.task, spec.loss.name),
            (Task::MultiLabel, LossName::BinaryCrossEntropy)
        );
        let asymmetric = parsed(json!({"task": "multi_label", "loss": {"name": "asymmetric"}})).unwrap();
        let loss = &asymmetric.loss;
        assert_eq!(
            (loss.gamma_negative, loss.gamma_positive, loss.clip),
            (Some(4.0), Some(0.0), Some(0.05))
        );
        for spec in [&spec, &asymmetric] {
            let shown = serde_json::to_value(spec).unwrap();
            assert_eq!(&JobSpec::parse(&shown).unwrap(), spec);
        }
        let single = serde_json::to_value(parsed(json!({})).unwrap()).unwrap();
        assert!(single.get("task").is_none(), "{single}");
    }

    #[test]
    fn what_is_for_one_class_only_is_refused() {
        for (fields, fault) in [
            (json!({"task": "several"}), "/task range"),
            (
                json!({"task": "multi_label", "head": {"solver": "lbfgs"}}),
                "/head/solver conflict",
            ),
            (
                json!({"task": "multi_label", "head": {"kind": "knn"}}),
                "/head/kind conflict",
            ),
            (
                json!({"task": "multi_label", "distill": {"teacher": "large"}}),
                "/distill conflict",
            ),
            (
                json!({"task": "multi_label", "loss": {"name": "focal"}}),
                "/loss/name conflict",
            ),
            (
                json!({"task": "multi_label", "loss": {"label_smoothing": 0.1}}),
                "/loss/label_smoothing conflict",
            ),
            (
                json!({"task": "multi_label", "loss": {"imbalance": "class_weights"}}),
                "/loss/imbalance conflict",
            ),
            (
                json!({"task": "multi_label", "loss": {"clip": 0.1}}),
                "/loss/clip conflict",
            ),
            (
                json!({"loss": {"name": "binary_cross_entropy"}}),
                "/loss/name conflict",
            ),
        ] {
            assert_eq!(parsed(fields.clone()).unwrap_err(), [fault], "{fields}");
        }
    }
}
