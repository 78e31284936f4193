//! How much each of several tasks counts in the loss.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::task::Task;
use crate::{
    domain::{models::tasks::TaskOutputs, spec::fields::Fields},
    error::FieldError,
};

/// How much each task counts in the loss, which is the weighted mean of the cross entropies of the tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", untagged)]
pub enum TaskWeights {
    Learned(LearnedWeights),
    /// By the names of the tasks, each above 0 and at most 1000; others count 1.
    Fixed(BTreeMap<String, f64>),
}

/// Weights that are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LearnedWeights {
    /// Of a task with cross entropy `L`, `exp(-s) L + s / 2` counts, and `s`, the logarithm of its variance, learns beside the network from 0 on
    /// (Kendall et al. 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses").
    Uncertainty,
}

impl TaskWeights {
    /// Weight of each task.
    pub fn of<'a>(
        weights: Option<&'a TaskWeights>,
        tasks: &'a [TaskOutputs],
    ) -> impl Iterator<Item = f64> + 'a {
        tasks.iter().map(move |task| match weights {
            Some(TaskWeights::Fixed(weights)) => weights.get(&task.name).copied().unwrap_or(1.0),
            _ => 1.0,
        })
    }

    /// Names of tasks that are none of these.
    pub fn faults(&self, tasks: &[TaskOutputs]) -> Vec<FieldError> {
        let TaskWeights::Fixed(weights) = self else {
            return Vec::new();
        };
        let unknown = weights
            .keys()
            .filter(|name| tasks.iter().all(|task| task.name != **name));
        let known: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
        unknown
            .map(|name| {
                let message = format!("there is no task `{name}`; the tasks are {}", known.join(", "));
                FieldError::new("/loss/task_weights", "unknown", message)
            })
            .collect()
    }
}

pub(in crate::domain::spec) fn parse(loss: &mut Fields, task: Task) -> Option<TaskWeights> {
    let value = loss.raw("task_weights")?;
    let weights = match value {
        Value::String(text) if text == "uncertainty" => TaskWeights::Learned(LearnedWeights::Uncertainty),
        Value::Object(object) => {
            let weight = |(name, value): (&String, &Value)| {
                let weight = value
                    .as_f64()
                    .filter(|weight| *weight > 0.0 && *weight <= 1000.0)?;
                Some((name.clone(), weight))
            };
            let weights: Option<BTreeMap<String, f64>> = object.iter().map(weight).collect();
            let Some(weights) = weights else {
                loss.fault(
                    "task_weights",
                    "range",
                    "each weight must be above 0 and at most 1000",
                );
                return None;
            };
            TaskWeights::Fixed(weights)
        }
        _ => {
            loss.fault(
                "task_weights",
                "range",
                "must be `uncertainty`, or a weight by the name of each task, such as {\"colour\": 2}",
            );
            return None;
        }
    };
    if task != Task::MultiTask {
        loss.fault(
            "task_weights",
            "conflict",
            "only valid with `\"task\": \"multi_task\"`",
        );
    }
    Some(weights)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        models::tasks::tasks_of,
        spec::{JobSpec, training::head::tests::parsed},
    };

    #[test]
    fn weights_are_given_by_name_or_learned() {
        let of = |weights: Value| parsed(json!({"task": "multi_task", "loss": {"task_weights": weights}}));
        let tasks = tasks_of(&["a=x", "a=y", "b=1", "b=2"]).unwrap();
        let fixed = of(json!({"b": 2.5})).unwrap();
        let weights = fixed.loss.task_weights.as_ref();
        assert_eq!(TaskWeights::of(weights, &tasks).collect::<Vec<_>>(), [1.0, 2.5]);
        assert!(weights.unwrap().faults(&tasks).is_empty());
        let learned = of(json!("uncertainty")).unwrap();
        for spec in [fixed, learned] {
            let shown = serde_json::to_value(&spec).unwrap();
            assert_eq!(JobSpec::parse(&shown).unwrap(), spec);
        }
        let other = of(json!({"c": 1})).unwrap().loss.task_weights.unwrap();
        let faults = other.faults(&tasks);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].message.contains("a, b"), "{faults:?}");
    }

    #[test]
    fn weights_that_are_none_are_refused() {
        for (task, weights) in [
            ("multi_task", json!({"a": 0})),
            ("multi_task", json!({"a": "much"})),
            ("multi_task", json!("learned")),
            ("multi_label", json!({"a": 1})),
            ("single", json!("uncertainty")),
        ] {
            let faults = parsed(json!({"task": task, "loss": {"task_weights": weights}})).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with("/loss/task_weights "), "{faults:?}");
        }
    }
}
