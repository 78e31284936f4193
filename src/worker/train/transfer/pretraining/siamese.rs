//! SimSiam: from the features of one view those of the other are predicted (Chen and He 2021, "Exploring Simple Siamese Representation
//! Learning"). What is predicted has no gradient; with it, all images would soon have the same features.

use tch::{Device, Kind, Tensor};

use super::views::Views;
use crate::{
    domain::architecture::layer::Activation,
    worker::{
        files::state::StateDict,
        nets::{
            Parameter,
            perceptron::{Norms, Perceptron},
        },
        train::transfer::term::Term,
    },
};

/// Width of the projection, as in the paper for networks of 512 features and more; narrower ones get this many times their features.
const WIDTH: u64 = 2048;
const TIMES_FEATURES: u64 = 8;
/// The prediction has a bottleneck (section 4.4).
const BOTTLENECK: u64 = 4;
/// The lengths of vectors are at least this (torch.nn.functional.cosine_similarity).
const SHORTEST: f64 = 1e-8;

/// The projection of feature vectors, and the prediction of one view's projection from the other's.
pub struct Siamese {
    projection: Perceptron,
    prediction: Perceptron,
}

impl Siamese {
    pub fn new(features: u64, seed: u64, device: Device) -> Self {
        let width = WIDTH.min(TIMES_FEATURES * features);
        let make = |name, widths: &[u64], norms| {
            Perceptron::of(name, widths, (Activation::Relu, norms), seed, device)
        };
        Self {
            projection: make("projection", &[features, width, width, width], Norms::All),
            prediction: make("prediction", &[width, width / BOTTLENECK, width], Norms::Hidden),
        }
    }

    pub fn of_views(&self, views: Views) -> Term {
        let projected = views.map(|features| self.projection.forward(features));
        let predicted = [0, 1].map(|view| self.prediction.forward(&projected[view]));
        let loss = loss(predicted.each_ref(), projected.each_ref());
        Term {
            told: loss.detach(),
            added: loss,
        }
    }

    pub fn parameters(&self) -> Vec<Parameter> {
        self.both().into_iter().flat_map(Perceptron::parameters).collect()
    }

    pub fn state(&self) -> StateDict {
        let state = self.both().into_iter().flat_map(Perceptron::state);
        state
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect()
    }

    pub fn restore(&self, saved: &StateDict) -> Result<(), String> {
        self.both().into_iter().try_for_each(|part| part.restore(saved))
    }

    fn both(&self) -> [&Perceptron; 2] {
        [&self.projection, &self.prediction]
    }
}

/// Equation 2, the mean over images: from -1, where both predictions are right, to 1. `[N, width]` each.
fn loss(predicted: Views, projected: Views) -> Tensor {
    let [first, second] = predicted;
    let [of_first, of_second] = projected.map(Tensor::detach);
    (cosine(first, &of_second) + cosine(second, &of_first)) * -0.5
}

/// Mean cosine of the rows.
fn cosine(one: &Tensor, other: &Tensor) -> Tensor {
    Tensor::cosine_similarity(one, other, 1, SHORTEST).mean(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::train::transfer::pretraining::golden;

    #[test]
    fn the_loss_is_numpys() {
        let expected = golden::golden();
        let [predicted, projected] = [&expected.simsiam.predicted, &expected.simsiam.projected]
            .map(|pair| pair.each_ref().map(|rows| golden::tensor(rows)));
        let found = loss(predicted.each_ref(), projected.each_ref()).double_value(&[]);
        assert!((found - expected.simsiam.loss).abs() < 1e-6, "{found}");
    }

    #[test]
    fn what_is_predicted_has_no_gradient_and_everything_that_learns_has_one() {
        let leaf = |factor: f64| {
            let numbers = Tensor::arange(24, (Kind::Float, Device::Cpu)) * factor;
            numbers.sin().view([4, 6]).set_requires_grad(true)
        };
        let (predicted, projected) = ([leaf(0.7), leaf(1.1)], [leaf(1.9), leaf(2.3)]);
        loss(predicted.each_ref(), projected.each_ref()).backward();
        assert!(predicted.iter().all(|rows| rows.grad().defined()));
        assert!(projected.iter().all(|rows| !rows.grad().defined()));

        let siamese = Siamese::new(6, 3, Device::Cpu);
        let parameters = siamese.parameters();
        for parameter in &parameters {
            let _ = parameter.tensor.set_requires_grad(true);
        }
        let term = siamese.of_views(predicted.each_ref());
        term.added.backward();
        assert!((-1.0..=1.0).contains(&term.told.double_value(&[])));
        for parameter in parameters {
            assert!(parameter.tensor.grad().defined(), "{}", parameter.name);
        }
    }
}
