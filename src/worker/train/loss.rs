//! The training loss, and the validation loss. The one place where logits meet labels.

use tch::{Device, Kind, Reduction, Tensor};

use super::input::balance;
use crate::domain::spec::{Imbalance, LossName, LossSpec};

/// The label that libtorch ignores; none of ours is negative.
const IGNORED: i64 = -100;

/// The training loss. A step's loss is the sum over its images divided by their total [`Loss::weight`], however many batches they come in.
pub struct Loss {
    form: Form,
    /// By class, also as a tensor `[classes]` on the device; none where all weights are 1.
    class_weights: Option<(Vec<f64>, Tensor)>,
}

enum Form {
    CrossEntropy { label_smoothing: f64 },
    Focal { gamma: f64 },
}

impl Loss {
    /// `classes` is the class of each training image, below `count`.
    pub fn new(spec: &LossSpec, classes: &[u32], count: usize, device: Device) -> Self {
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
            },
            class_weights,
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
        }
    }
}

/// The validation loss, whatever the training loss: the mean cross entropy, a scalar.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, IGNORED, 0.0)
}
