//! Models of several tasks: each image is asked several questions, and each question has classes of its own. Of the class `colour=red` the
//! task is `colour`, and `red` is the answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What stands between the name of a task and the answer in the name of a class.
const BETWEEN: char = '=';

/// The outputs of a network that belong to one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskOutputs {
    #[schema(example = "colour")]
    pub name: String,
    /// Places of its classes in `classes`, at least two, ascending. The probabilities of these sum to 1.
    pub classes: Vec<u32>,
    /// The logits of the task are divided by this before the softmax; above 0. Fitted as that of a model of one task.
    pub temperature: f64,
}

/// The name of the class that is this answer to a task. A task's name has no `=`, which becomes `-`.
pub fn class_of(task: &str, answer: &str) -> String {
    format!("{}{BETWEEN}{answer}", task.replace(BETWEEN, "-"))
}

/// Task and answer of a class; none if its name has not both.
pub fn parts_of(class: &str) -> Option<(&str, &str)> {
    let (task, answer) = class.split_once(BETWEEN)?;
    (!task.is_empty() && !answer.is_empty()).then_some((task, answer))
}

/// The tasks of these classes, in the order of their first classes.
///
/// # Errors
/// For a person: why these are not the classes of at least two tasks with at least two classes each.
pub fn tasks_of<T: AsRef<str>>(classes: &[T]) -> Result<Vec<TaskOutputs>, String> {
    let mut tasks: Vec<TaskOutputs> = Vec::new();
    for (index, class) in (0u32..).zip(classes) {
        let class = class.as_ref();
        let Some((name, _)) = parts_of(class) else {
            return Err(format!(
                "the class `{class}` is of no task: classes of several tasks are called like `colour=red`, as `task_columns` of a table gives \
                 them (POST /v1/datasets/{{dataset}}/reread)"
            ));
        };
        match tasks.iter_mut().find(|task| task.name == name) {
            Some(task) => task.classes.push(index),
            None => tasks.push(TaskOutputs {
                name: name.to_owned(),
                classes: vec![index],
                temperature: 1.0,
            }),
        }
    }
    if let Some(task) = tasks.iter().find(|task| task.classes.len() < 2) {
        let only = classes[task.classes[0] as usize].as_ref();
        return Err(format!(
            "the task `{}` has one class only (`{only}`); each needs at least two: leave its column out, or add images",
            task.name
        ));
    }
    match tasks.as_slice() {
        [] => Err("the dataset has no classes".to_owned()),
        [only] => Err(format!(
            "there is one task only (`{}`); use `\"task\": \"single\"`",
            only.name
        )),
        _ => Ok(tasks),
    }
}

impl TaskOutputs {
    /// Which of its classes an image with these labels is of, counted within the task; none if its label is missing.
    ///
    /// # Errors
    /// Two classes of the task, by their places in all classes.
    pub fn label(&self, labels: &[u32]) -> Result<Option<u32>, [u32; 2]> {
        let mut found = (0u32..)
            .zip(&self.classes)
            .filter(|(_, class)| labels.contains(class));
        let first = found.next();
        match (first, found.next()) {
            (Some((_, first)), Some((_, second))) => Err([*first, *second]),
            _ => Ok(first.map(|(place, _)| place)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_belong_to_the_task_that_their_names_begin_with() {
        let classes = ["a=x=y", "a=z", "b=1", "b=2", "b=3"];
        let tasks = tasks_of(&classes).unwrap();
        let found: Vec<_> = tasks
            .iter()
            .map(|task| (task.name.as_str(), task.classes.clone()))
            .collect();
        assert_eq!(found, [("a", vec![0, 1]), ("b", vec![2, 3, 4])]);
        assert_eq!(parts_of("a=x=y"), Some(("a", "x=y")));
        assert_eq!(class_of("my=task", "1=2"), "my-task=1=2");
        assert_eq!(tasks[1].label(&[0, 3]), Ok(Some(1)));
        assert_eq!(tasks[1].label(&[0]), Ok(None));
        assert_eq!(tasks[1].label(&[2, 4]), Err([2, 4]));
    }

    #[test]
    fn what_is_missing_for_several_tasks_is_said() {
        for (classes, word) in [
            (&["a=x", "b"][..], "`b` is of no task"),
            (&["a=x", "=b"], "`=b` is of no task"),
            (&["a=x", "a=y", "b=z"], "`b` has one class only"),
            (&["a=x", "a=y"], "single"),
            (&[], "no classes"),
        ] {
            let message = tasks_of(classes).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }
}
