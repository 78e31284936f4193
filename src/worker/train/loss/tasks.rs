//! The loss of several tasks: the cross entropy of each task's outputs, weighted. A label that is missing counts nothing.

use tch::{Device, Kind, Reduction, Tensor};

use crate::{
    domain::{
        metrics::LabelSets,
        models::tasks::TaskOutputs,
        spec::{LearnedWeights, LossSpec, TaskWeights},
    },
    worker::{autograd::without_gradients, files::state::StateDict, nets::Parameter},
};

/// The label that libtorch ignores; none of ours is negative.
pub(super) const IGNORED: i64 = -100;
/// The tensor that learns where the weights do.
pub const LOG_VARIANCES: &str = "task_weights.log_variances";

pub struct TasksLoss {
    tasks: Vec<OneTask>,
    label_smoothing: f64,
    total_weight: f64,
    learned: Option<LearnedTaskWeights>,
}

struct OneTask {
    /// Its classes' places in all logits, 64-bit integers.
    classes: Tensor,
    /// By set of labels: the class within the task, or [`IGNORED`] where it is missing; `[sets]`, 64-bit integers.
    labels: Tensor,
    weight: f64,
}

/// The logarithm of each task's variance, `[tasks]` (Kendall et al. 2018, equation 10).
pub struct LearnedTaskWeights {
    log_variances: Tensor,
}

impl TasksLoss {
    pub fn new(spec: &LossSpec, tasks: &[TaskOutputs], sets: &LabelSets, device: Device) -> Self {
        let weights = TaskWeights::of(spec.task_weights.as_ref(), tasks);
        let is_learned = spec.task_weights == Some(TaskWeights::Learned(LearnedWeights::Uncertainty));
        let log_variances = || Tensor::zeros([tasks.len() as i64], (Kind::Float, device));
        let tasks: Vec<OneTask> = tasks
            .iter()
            .zip(weights)
            .map(|(task, weight)| OneTask::of(task, weight, sets, device))
            .collect();
        Self {
            total_weight: tasks.iter().map(|task| task.weight).sum(),
            label_smoothing: spec.label_smoothing,
            learned: is_learned.then(|| LearnedTaskWeights {
                log_variances: log_variances(),
            }),
            tasks,
        }
    }

    /// What learns beside the network; it shares its memory.
    pub fn learned(&self) -> Option<LearnedTaskWeights> {
        self.learned.as_ref().map(|learned| LearnedTaskWeights {
            log_variances: learned.log_variances.shallow_clone(),
        })
    }

    /// The loss of each image, `[N]`, given logits `[N, classes]` and the index of each image's labels `[N]`.
    pub fn of_each(&self, logits: &Tensor, sets: &Tensor) -> Tensor {
        let losses = self.tasks.iter().enumerate().map(|(place, task)| {
            let loss = task.cross_entropy(logits, sets, self.label_smoothing);
            match &self.learned {
                None => loss * task.weight,
                Some(learned) => learned.weighted(place as i64, &loss, &task.is_known(sets)),
            }
        });
        sum(losses) / self.total_weight
    }

    /// The mean over the tasks of the plain cross entropy, of each image, `[N]`.
    pub fn plain(&self, logits: &Tensor, sets: &Tensor) -> Tensor {
        let losses = self
            .tasks
            .iter()
            .map(|task| task.cross_entropy(logits, sets, 0.0));
        sum(losses) / self.tasks.len() as f64
    }

    /// Whether all answers to an image are right for which it has labels, `[N]`.
    pub fn all_right(&self, logits: &Tensor, sets: &Tensor) -> Tensor {
        let right = self.tasks.iter().map(|task| {
            let labels = task.labels.index_select(0, sets);
            let answers = task.logits(logits).argmax(1, false);
            answers.eq_tensor(&labels).logical_or(&labels.eq(IGNORED))
        });
        let all = right.reduce(|all, right| all.logical_and(&right));
        all.unwrap_or_else(|| sets.ge(0))
    }
}

impl OneTask {
    fn of(task: &TaskOutputs, weight: f64, sets: &LabelSets, device: Device) -> Self {
        let classes: Vec<i64> = task.classes.iter().map(|class| i64::from(*class)).collect();
        // Images with two labels of a task are not read.
        let label = |labels: &Vec<u32>| task.label(labels).ok().flatten().map_or(IGNORED, i64::from);
        let labels: Vec<i64> = sets.iter().map(label).collect();
        Self {
            classes: Tensor::from_slice(&classes).to_device(device),
            labels: Tensor::from_slice(&labels).to_device(device),
            weight,
        }
    }

    fn logits(&self, all: &Tensor) -> Tensor {
        all.index_select(1, &self.classes)
    }

    fn cross_entropy(&self, logits: &Tensor, sets: &Tensor, label_smoothing: f64) -> Tensor {
        let labels = self.labels.index_select(0, sets);
        self.logits(logits).cross_entropy_loss(
            &labels,
            None::<&Tensor>,
            Reduction::None,
            IGNORED,
            label_smoothing,
        )
    }

    /// 1 for images that have a label, else 0, `[N]`.
    fn is_known(&self, sets: &Tensor) -> Tensor {
        let labels = self.labels.index_select(0, sets);
        labels.ne(IGNORED).to_kind(Kind::Float)
    }
}

impl LearnedTaskWeights {
    fn weighted(&self, task: i64, loss: &Tensor, is_known: &Tensor) -> Tensor {
        let own = self.log_variances.select(0, task);
        loss * (-&own).exp() + is_known * (own / 2.0)
    }

    /// At the rate of the head.
    pub fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter {
            name: LOG_VARIANCES.to_owned(),
            stage: None,
            tensor: self.log_variances.shallow_clone(),
        }]
    }

    pub fn state(&self) -> StateDict {
        StateDict::from([(LOG_VARIANCES.to_owned(), self.log_variances.shallow_clone())])
    }

    /// Restores the result of [`LearnedTaskWeights::state`].
    ///
    /// # Errors
    /// The name of a tensor that is missing or of another shape.
    pub fn restore(&self, saved: &StateDict) -> Result<(), String> {
        let own = &self.log_variances;
        match saved
            .get(LOG_VARIANCES)
            .filter(|saved| saved.size() == own.size())
        {
            Some(saved) => without_gradients(|| own.shallow_clone().copy_(saved)),
            None => return Err(LOG_VARIANCES.to_owned()),
        }
        Ok(())
    }
}

fn sum(losses: impl Iterator<Item = Tensor>) -> Tensor {
    losses.reduce(|sum, loss| sum + loss).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{
        metrics::{Logits, multi_task},
        models::tasks::tasks_of,
        spec::JobSpec,
    };

    fn loss(spec: &Value) -> (TasksLoss, Vec<TaskOutputs>, LabelSets) {
        let spec = json!({"dataset": "d", "task": "multi_task", "loss": spec});
        let tasks = tasks_of(&["a=x", "a=y", "b=1", "b=2", "b=3"]).unwrap();
        let sets = Arc::new(vec![vec![0, 4], vec![1], vec![2]]);
        let spec = JobSpec::parse(&spec).unwrap();
        (
            TasksLoss::new(&spec.loss, &tasks, &sets, Device::Cpu),
            tasks,
            sets,
        )
    }

    #[rustfmt::skip]
    const ROWS: [f32; 15] = [
        2.0, 0.0, 0.0, 0.0, 1.0,
        0.0, 0.5, 9.0, 0.0, 0.0,
        5.0, 0.0, 0.0, 0.5, 0.0,
    ];

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.to_kind(Kind::Double)).unwrap()
    }

    #[test]
    fn losses_and_hits_are_those_of_the_metrics() {
        let (loss, tasks, sets) = loss(&json!({}));
        let (logits, labels) = (
            Tensor::from_slice(&ROWS).view([3, 5]),
            Tensor::from_slice(&[0i64, 1, 2]),
        );
        let mut measured = Logits::of_sets(5, sets);
        measured.extend(&ROWS, &[0, 1, 2]).unwrap();
        let expected = multi_task::losses(&measured, &tasks);
        for found in [loss.of_each(&logits, &labels), loss.plain(&logits, &labels)] {
            for (found, expected) in values(&found).iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
        assert_eq!(values(&loss.all_right(&logits, &labels)), [1.0, 1.0, 0.0]);
    }

    #[test]
    fn tasks_count_as_their_weights_say() {
        let (logits, labels) = (
            Tensor::from_slice(&ROWS).view([3, 5]),
            Tensor::from_slice(&[0i64, 1, 2]),
        );
        let only = |spec: Value| values(&loss(&spec).0.of_each(&logits, &labels));
        let (plain, weighted) = (only(json!({})), only(json!({"task_weights": {"a": 3}})));
        // The second image has a label of the first task only, the third one of the second only.
        assert!((weighted[1] - plain[1] * 2.0 * 3.0 / 4.0).abs() < 1e-6);
        assert!((weighted[2] - plain[2] * 2.0 / 4.0).abs() < 1e-6);
    }

    #[test]
    fn learned_weights_begin_at_one_and_fall_for_what_is_uncertain() {
        let (logits, labels) = (
            Tensor::from_slice(&ROWS).view([3, 5]),
            Tensor::from_slice(&[0i64, 1, 2]),
        );
        let (loss, ..) = loss(&json!({"task_weights": "uncertainty"}));
        assert_eq!(
            values(&loss.of_each(&logits, &labels)),
            values(&loss.plain(&logits, &labels))
        );
        let learned = loss.learned().unwrap();
        let parameter = learned.parameters().remove(0).tensor.set_requires_grad(true);
        loss.of_each(&logits, &labels).sum(Kind::Float).backward();
        let slope = values(&parameter.grad());
        // Of each task: half of its images less their losses, divided by the two tasks.
        let of = |task: &OneTask| {
            let (loss, known) = (task.cross_entropy(&logits, &labels, 0.0), task.is_known(&labels));
            values(&(known / 2.0 - loss).sum(Kind::Float).view(1))[0] / 2.0
        };
        for (slope, task) in slope.iter().zip(&loss.tasks) {
            assert!((slope - of(task)).abs() < 1e-6);
        }
        let saved = learned
            .state()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.ones_like()))
            .collect();
        assert_eq!(learned.restore(&StateDict::new()).unwrap_err(), LOG_VARIANCES);
        learned.restore(&saved).unwrap();
        assert_eq!(values(&loss.learned().unwrap().log_variances), [1.0, 1.0]);
    }
}
