//! The loss that brings a student near its teachers, and what of it learns.

use tch::{Device, Kind, Tensor};

use crate::{
    domain::spec::JobSpec,
    worker::{
        nets::{Network, perceptron::Perceptron, vectors},
        train::{input::batch::Lesson, transfer::term::Term},
    },
};

/// Name of the layer between the features of the student and those of a teacher, and so of its tensors.
const PROJECTION: &str = "projection";

/// The distillation of a training.
pub struct Distillation {
    temperature: f64,
    /// Share of the teachers in the loss; the labels have the rest.
    weight: f64,
    /// Weight of the loss between the features.
    features: f64,
    /// Where the features are learned, too.
    pub projection: Option<Perceptron>,
}

/// What the student makes of images, and what the teachers say of them.
pub struct Taught<'a> {
    /// Vectors or maps.
    pub features: &'a Tensor,
    /// `[N, classes]`.
    pub logits: &'a Tensor,
    pub lesson: &'a Lesson,
}

impl Distillation {
    /// None where there are no teachers. `teacher_features`: length of the first teacher's feature vectors.
    pub fn new(spec: &JobSpec, network: &Network, teacher_features: u64, device: Device) -> Option<Self> {
        let distill = spec.distill.as_ref()?;
        let own = network.architecture().design().features();
        let projection = || Perceptron::drawn(PROJECTION, &[own, teacher_features], spec.seed, device);
        Some(Self {
            temperature: distill.temperature,
            weight: distill.weight,
            features: distill.features.unwrap_or_default(),
            projection: distill.features.map(|_| projection()),
        })
    }

    /// What the loss of the labels counts.
    pub fn label_weight(&self) -> f64 {
        1.0 - self.weight
    }

    /// The mean over all images of the groups, at least one.
    pub fn of(&self, groups: &[Taught]) -> Term {
        let images: i64 = groups.iter().map(|group| group.logits.size()[0]).sum();
        let each = groups.iter().map(|group| {
            let loss = soft_cross_entropy(group.logits, &group.lesson.probabilities, self.temperature);
            loss.sum(Kind::Float)
        });
        let sum = each
            .reduce(|sum, next| sum + next)
            .unwrap_or_else(|| Tensor::from(0f32));
        let loss = sum / images as f64;
        let told = loss.detach();
        let added = loss * self.weight;
        let hints = groups.iter().filter_map(|group| self.hint(group));
        let added = match hints.reduce(|sum, next| sum + next) {
            Some(hint) => added + hint * (self.features / images as f64),
            None => added,
        };
        Term { told, added }
    }

    /// The sum over images of the mean squared difference of the features (Romero et al. 2015, equation 3, but for a factor).
    fn hint(&self, group: &Taught) -> Option<Tensor> {
        let (projection, theirs) = (self.projection.as_ref()?, group.lesson.features.as_ref()?);
        let difference = projection.forward(&vectors(group.features)) - theirs;
        let count = difference.size()[1].max(1) as f64;
        Some(difference.square().sum(Kind::Float) / count)
    }
}

/// Of each image: the Kullback-Leibler divergence of the student's probabilities from the teachers' at a temperature, times its square, so
/// that the gradient is as large at any temperature (Hinton et al. 2015, section 2). `[N]` for logits and probabilities `[N, classes]`. In
/// 64-bit floats: at a high temperature all probabilities are nearly the same.
fn soft_cross_entropy(logits: &Tensor, probabilities: &Tensor, temperature: f64) -> Tensor {
    let own = (logits.to_kind(Kind::Double) / temperature).log_softmax(1, Kind::Double);
    let theirs = probabilities.to_kind(Kind::Double);
    // Probabilities of 0 add nothing.
    let divergence = &theirs * (theirs.clamp_min(f64::MIN_POSITIVE).log() - own);
    let divergence = divergence.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
    divergence * (temperature * temperature)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Made by `scripts/metrics`.
    const GOLDEN: &str = include_str!("../../../../../tests/golden/distillation.json");

    #[derive(Deserialize)]
    struct Case {
        student: Vec<Vec<f32>>,
        teacher: Vec<Vec<f32>>,
        temperature: f64,
        each: Vec<f64>,
    }

    fn rows(values: &[Vec<f32>]) -> Tensor {
        let flat: Vec<f32> = values.iter().flatten().copied().collect();
        Tensor::from_slice(&flat).view([values.len() as i64, values[0].len() as i64])
    }

    #[test]
    fn it_is_the_divergence_of_the_reference() {
        let cases: Vec<Case> = serde_json::from_str(GOLDEN).unwrap();
        assert!(cases.len() >= 3);
        for case in cases {
            let teacher = rows(&case.teacher).to_kind(Kind::Double) / case.temperature;
            let teacher = teacher.softmax(1, Kind::Double);
            let found = soft_cross_entropy(&rows(&case.student), &teacher, case.temperature);
            let found = Vec::<f64>::try_from(found).unwrap();
            for (found, expected) in found.into_iter().zip(case.each) {
                let off = (found - expected).abs();
                assert!(off < 1e-6, "{found} {expected}");
            }
        }
    }

    #[test]
    fn its_gradient_is_the_difference_of_the_probabilities_times_the_temperature() {
        let (logits, temperature) = (rows(&[vec![1.0, -0.5, 0.2]]).set_requires_grad(true), 3.0);
        let teacher = Tensor::from_slice(&[0.2f32, 0.7, 0.1]).view([1, 3]);
        let loss = soft_cross_entropy(&logits, &teacher, temperature).sum(Kind::Float);
        let gradient = Tensor::run_backward(&[loss], &[&logits], false, false).remove(0);
        let expected = ((&logits / temperature).softmax(1, Kind::Float) - teacher) * temperature;
        assert!((gradient - expected).abs().max().double_value(&[]) < 1e-6);
    }
}
