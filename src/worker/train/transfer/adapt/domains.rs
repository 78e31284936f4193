//! How well two domains can be told apart by their features: an indication, without labels, of how much is left to adapt (the idea of the
//! proxy A-distance, Ben-David et al. 2007, "Analysis of Representations for Domain Adaptation").

use std::convert::Infallible;

use tch::{Kind, Tensor};

use crate::{
    domain::random::{Draws, Stream},
    worker::train::solve::{
        lbfgs::{Stop, minimised},
        objective::Objective,
    },
};

/// Most images of each domain that are looked at.
pub const MOST: usize = 1000;
const FOLDS: usize = 2;
/// Penalty on the weights, whose inputs have a variance of 1.
const L2: f64 = 1e-2;
const STOP: Stop = Stop {
    gradient: 1e-6,
    iterations: 200,
};

/// The share of images, 0 to 1, of whose features `[N, d]` and `[M, d]` a linear classifier tells the domain. It is trained on one half and
/// asked about the other, and the other way round; both domains count the same. 0.5: the domains cannot be told apart.
pub fn accuracy(source: &Tensor, target: &Tensor, seed: u64) -> f64 {
    let features = standardised(&Tensor::cat(&[source, target], 0));
    if features.abs().max().double_value(&[]) == 0.0 {
        // Of a network that says the same of every image.
        return 0.5;
    }
    let of_source = source.size()[0] as usize;
    let domain = |row: usize| i64::from(row >= of_source);
    let mut order: Vec<usize> = (0..features.size()[0] as usize).collect();
    Draws::at(seed, Stream::Target, 0, 1).shuffle(&mut order);
    let mut shares = Vec::new();
    for fold in 0..FOLDS {
        let is_asked = |place: usize| place % FOLDS == fold;
        let chosen = |asked: bool| -> Vec<usize> {
            let places = order.iter().enumerate();
            places
                .filter(|(place, _)| is_asked(*place) == asked)
                .map(|(_, row)| *row)
                .collect()
        };
        let (taught, asked) = (chosen(false), chosen(true));
        let labels: Vec<i64> = taught.iter().map(|row| domain(*row)).collect();
        let answers = answers(&rows(&features, &taught), &labels, &rows(&features, &asked));
        for wanted in [0, 1] {
            let of_domain = asked
                .iter()
                .zip(&answers)
                .filter(|(row, _)| domain(**row) == wanted);
            let (mut right, mut count) = (0, 0);
            for (_, answer) in of_domain {
                right += u32::from(*answer == wanted);
                count += 1;
            }
            if count > 0 {
                shares.push(f64::from(right) / f64::from(count));
            }
        }
    }
    shares.iter().sum::<f64>() / shares.len().max(1) as f64
}

/// The domain of each of the `asked` rows, by a logistic regression on the others.
fn answers(taught: &Tensor, labels: &[i64], asked: &Tensor) -> Vec<i64> {
    let features = taught.size()[1];
    let ones = vec![1.0; labels.len()];
    let objective = Objective::new(taught, labels, &ones, vec![[features, 2]], 1);
    let goes_on = || Ok::<_, Infallible>(true);
    let found = minimised(
        objective.nothing(),
        &objective.scale(L2),
        STOP,
        |at| objective.at(at, L2),
        goes_on,
    );
    let at = match found {
        Ok(found) => found.at,
        Err(never) => match never {},
    };
    let layers = objective.uncentred(&at);
    let logits = layers
        .iter()
        .fold(asked.to_kind(Kind::Double), |input, [weight, bias]| {
            input.linear(weight, Some(bias))
        });
    Vec::try_from(logits.argmax(1, false)).unwrap_or_default()
}

fn rows(features: &Tensor, wanted: &[usize]) -> Tensor {
    let wanted: Vec<i64> = wanted.iter().map(|row| *row as i64).collect();
    features.index_select(0, &Tensor::from_slice(&wanted))
}

/// With mean 0 and variance 1 of each feature; constant ones are 0.
fn standardised(features: &Tensor) -> Tensor {
    let features = features.to_kind(Kind::Double);
    let mean = features.mean_dim([0i64].as_slice(), true, Kind::Double);
    let centred = features - mean;
    let variance = centred.square().mean_dim([0i64].as_slice(), true, Kind::Double);
    (centred / variance.sqrt().clamp_min(1e-6)).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(rows: i64, seed: u64, shift: f64) -> Tensor {
        let mut draws = Draws::at(seed, Stream::SampleDataset, 0, 0);
        let values: Vec<f32> = (0..rows * 6)
            .map(|_| ((0..12).map(|_| draws.unit()).sum::<f64>() - 6.0 + shift) as f32)
            .collect();
        Tensor::from_slice(&values).view([rows, 6])
    }

    #[test]
    fn the_same_domain_is_a_guess_and_another_one_is_told() {
        let same = accuracy(&normal(300, 1, 0.0), &normal(500, 2, 0.0), 3);
        assert!((same - 0.5).abs() < 0.08, "{same}");
        let near = accuracy(&normal(300, 1, 0.0), &normal(500, 2, 0.3), 3);
        let far = accuracy(&normal(300, 1, 0.0), &normal(500, 2, 2.0), 3);
        assert!(near > same + 0.05 && far > 0.97, "{same} {near} {far}");
        let constant = Tensor::zeros([10, 6], (Kind::Float, tch::Device::Cpu));
        assert_eq!(accuracy(&constant, &constant, 0), 0.5);
    }
}
