//! The training loss, and the validation loss. The one place where logits meet labels.

mod auxiliary;
mod tasks;

use tch::{Device, Kind, Reduction, Tensor};

use self::tasks::{IGNORED, TasksLoss};
pub use self::{
    auxiliary::AuxiliaryHeads,
    tasks::{LOG_VARIANCES, LearnedTaskWeights},
};
use super::input::balance;
use crate::domain::{
    metrics::LabelSets,
    models::tasks::TaskOutputs,
    spec::{Imbalance, LossName, LossSpec},
};

/// The training loss. A step's loss is the sum over its images divided by their total [`Loss::weight`], however many batches they come in.
pub struct Loss {
    form: Form,
    /// By class, also as a tensor `[classes]` on the device; none where all weights are 1.
    class_weights: Option<(Vec<f64>, Tensor)>,
}

enum Form {
    CrossEntropy {
        label_smoothing: f64,
    },
    Focal {
        gamma: f64,
    },
    /// For images with several labels, whose "label" is the index of their set.
    PerClass {
        /// 1 for each class of a set, `[sets, classes]`, on the device.
        targets: Tensor,
        asymmetry: Option<Asymmetry>,
    },
    /// The same for images with labels of several tasks.
    PerTask(TasksLoss),
}

/// Ridnik et al. 2021, equations 5 to 7.
struct Asymmetry {
    gamma_negative: f64,
    gamma_positive: f64,
    clip: f64,
}

impl Loss {
    /// `classes` is the class of each training image, below `count`; with `sets`, the index of its labels in it.
    pub fn new(
        spec: &LossSpec,
        classes: &[u32],
        count: usize,
        sets: Option<&LabelSets>,
        device: Device,
    ) -> Self {
        let class_weights = (spec.imbalance == Imbalance::ClassWeights).then(|| {
            let weights = balance::class_weights(classes, count);
            let tensor = Tensor::from_slice(&weights)
                .to_kind(Kind::Float)
                .to_device(device);
            (weights, tensor)
        });
        Self {
            form: match spec.name {
                LossName::CrossEntropy => Form::CrossEntropy {
                    label_smoothing: spec.label_smoothing,
                },
                LossName::Focal => Form::Focal {
                    gamma: spec.gamma.unwrap_or(2.0),
                },
                LossName::BinaryCrossEntropy | LossName::Asymmetric => Form::PerClass {
                    targets: targets(sets.map_or(&[][..], |sets| sets), count).to_device(device),
                    asymmetry: (spec.name == LossName::Asymmetric).then(|| Asymmetry {
                        gamma_negative: spec.gamma_negative.unwrap_or(4.0),
                        gamma_positive: spec.gamma_positive.unwrap_or(0.0),
                        clip: spec.clip.unwrap_or(0.05),
                    }),
                },
            },
            class_weights,
        }
    }

    /// Of several tasks; the "label" of an image is the index of its labels in `sets`.
    pub fn of_tasks(spec: &LossSpec, tasks: &[TaskOutputs], sets: &LabelSets, device: Device) -> Self {
        Self {
            form: Form::PerTask(TasksLoss::new(spec, tasks, sets, device)),
            class_weights: None,
        }
    }

    /// What of it learns beside the network, if anything.
    pub fn learned(&self) -> Option<LearnedTaskWeights> {
        match &self.form {
            Form::PerTask(loss) => loss.learned(),
            _ => None,
        }
    }

    /// Total weight of images of these classes.
    pub fn weight(&self, classes: impl Iterator<Item = u32>) -> f64 {
        let of = |class: u32| match &self.class_weights {
            None => 1.0,
            Some((weights, _)) => weights.get(class as usize).copied().unwrap_or(1.0),
        };
        classes.map(of).sum()
    }

    /// The weighted loss of each image, `[N]`, given logits `[N, classes]` and labels `[N]` (64-bit integers).
    pub fn of_each(&self, logits: &Tensor, labels: &Tensor) -> Tensor {
        let weights = self.class_weights.as_ref().map(|(_, tensor)| tensor);
        match self.form {
            Form::CrossEntropy { label_smoothing } => {
                logits.cross_entropy_loss(labels, weights, Reduction::None, IGNORED, label_smoothing)
            }
            Form::Focal { gamma } => {
                let log = logits
                    .log_softmax(1, Kind::Float)
                    .gather(1, &labels.unsqueeze(1), false)
                    .squeeze_dim(1);
                // Not at 0, where the slope of a power below 1 is infinite.
                let unsure = (log.exp().neg() + 1.0).clamp_min(f64::from(f32::EPSILON));
                let each = (unsure.pow_tensor_scalar(gamma) * log).neg();
                match weights {
                    None => each,
                    Some(weights) => each * weights.index_select(0, labels),
                }
            }
            Form::PerClass {
                ref targets,
                ref asymmetry,
            } => {
                let targets = targets.index_select(0, labels);
                let each = match asymmetry {
                    None => binary_cross_entropy(logits, &targets, Reduction::None),
                    Some(asymmetry) => asymmetry.of(logits, &targets),
                };
                each.mean_dim([1i64].as_slice(), false, Kind::Float)
            }
            Form::PerTask(ref loss) => loss.of_each(logits, labels),
        }
    }

    /// The validation loss, whatever the training loss: the mean cross entropy, a scalar; with several labels the binary one, with several
    /// tasks the mean over them.
    pub fn validation(&self, logits: &Tensor, labels: &Tensor) -> Tensor {
        match &self.form {
            Form::PerClass { targets, .. } => {
                binary_cross_entropy(logits, &targets.index_select(0, labels), Reduction::Mean)
            }
            Form::PerTask(loss) => loss.plain(logits, labels).mean(Kind::Float),
            _ => logits.cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, IGNORED, 0.0),
        }
    }

    /// How many images are classified correctly, a scalar of 64-bit integers: by their likeliest class, or by all classes with a probability
    /// of at least one half, or by the likeliest class of every task.
    pub fn hits(&self, logits: &Tensor, labels: &Tensor) -> Tensor {
        let logits = logits.detach();
        let right = match &self.form {
            Form::PerClass { targets, .. } => {
                let shown = targets.index_select(0, labels).ge(0.5);
                logits.ge(0.0).eq_tensor(&shown).all_dim(1, false)
            }
            Form::PerTask(loss) => loss.all_right(&logits, labels),
            _ => logits.argmax(1, false).eq_tensor(labels),
        };
        right.sum(Kind::Int64)
    }
}

impl Asymmetry {
    /// Of each class of each image, `[N, classes]`.
    fn of(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        let shown = logits.sigmoid();
        // Not at 0, where the slope of a power below 1 is infinite.
        let least = f64::from(f32::EPSILON);
        let unsure = (-&shown + 1.0).clamp_min(least);
        let of_shown = unsure.pow_tensor_scalar(self.gamma_positive) * logits.log_sigmoid();
        let shifted = (shown - self.clip).clamp_min(least);
        let of_others =
            shifted.pow_tensor_scalar(self.gamma_negative) * (-&shifted + 1.0).clamp_min(least).log();
        -(targets * of_shown + (-targets + 1.0) * of_others)
    }
}

fn binary_cross_entropy(logits: &Tensor, targets: &Tensor, reduction: Reduction) -> Tensor {
    logits.binary_cross_entropy_with_logits::<Tensor>(targets, None, None, reduction)
}

/// 1 for each class of a set of labels, `[sets, classes]`.
fn targets(sets: &[Vec<u32>], classes: usize) -> Tensor {
    let mut rows = vec![0f32; sets.len() * classes];
    for (row, labels) in sets.iter().enumerate() {
        for label in labels {
            rows[row * classes + *label as usize] = 1.0;
        }
    }
    Tensor::from_slice(&rows).view([sets.len() as i64, classes as i64])
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::domain::spec::JobSpec;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        logits: Vec<Vec<f32>>,
        labels: Vec<Vec<u32>>,
        loss: f64,
        asymmetric: Vec<AsymmetricCase>,
    }

    #[derive(Deserialize)]
    struct AsymmetricCase {
        gamma_negative: f64,
        gamma_positive: f64,
        clip: f64,
        loss: f64,
    }

    #[test]
    fn losses_of_several_labels_are_those_of_the_papers() {
        let golden: Golden =
            serde_json::from_str(include_str!("../../../tests/golden/multi_label.json")).unwrap();
        for case in golden.cases {
            let (images, classes) = (case.logits.len(), case.logits[0].len());
            let sets = LabelSets::new(case.labels);
            let indices: Vec<u32> = (0..images as u32).collect();
            let labels = Tensor::arange(images as i64, (Kind::Int64, Device::Cpu));
            let logits = Tensor::from_slice(&case.logits.concat()).view([images as i64, classes as i64]);
            let mean = |loss: serde_json::Value| {
                let spec = json!({"dataset": "d", "task": "multi_label", "loss": loss});
                let spec = JobSpec::parse(&spec).unwrap().loss;
                let loss = Loss::new(&spec, &indices, classes, Some(&sets), Device::Cpu);
                let sum = loss.of_each(&logits, &labels).sum(Kind::Float);
                (sum / loss.weight(indices.iter().copied())).double_value(&[])
            };
            let binary = mean(json!({}));
            assert!((binary - case.loss).abs() <= 1e-6, "{}: {binary}", case.name);
            for expected in case.asymmetric {
                let ours = mean(json!({
                    "name": "asymmetric", "gamma_negative": expected.gamma_negative, "gamma_positive": expected.gamma_positive,
                    "clip": expected.clip
                }));
                let off = (ours - expected.loss).abs();
                assert!(off <= 1e-6, "{}: {ours} {}", case.name, expected.loss);
            }
        }
    }

    #[test]
    fn an_image_is_right_if_all_of_its_labels_are() {
        let sets = LabelSets::new(vec![vec![0], vec![0, 2], vec![]]);
        let spec = LossSpec {
            name: LossName::BinaryCrossEntropy,
            ..LossSpec::default()
        };
        let loss = Loss::new(&spec, &[], 3, Some(&sets), Device::Cpu);
        let logits = Tensor::from_slice2(&[[1f32, -1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -2.0, -3.0]]);
        let hits = |labels: [i64; 3]| {
            let labels = Tensor::from_slice(&labels);
            loss.hits(&logits, &labels).int64_value(&[])
        };
        assert_eq!([hits([0, 0, 2]), hits([0, 1, 2]), hits([1, 1, 0])], [3, 2, 0]);
    }
}
