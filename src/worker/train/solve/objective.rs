//! What is minimised: the weighted mean cross entropy of a head on feature vectors, and a penalty on the squares of its weights, with the
//! gradient, in 64-bit floats.
//!
//! The images are divided into chunks of a fixed size, each of which is computed on one thread; their sums are added in order. So the bits
//! do not depend on the number of threads. Always on the CPU, whose matrix products of one thread do the same each time.

use std::thread;

use tch::{Device, Kind, Tensor};

use super::lbfgs::Point;

/// Images that are computed together.
const CHUNK: i64 = 1024;
/// Most features whose directions are looked for: it takes a time that grows with their third power.
const MOST_TURNED: i64 = 1024;
/// Directions with less of the largest variance than this are rounding.
const ROUNDING: f64 = 1e-13;
/// Larger features stay 32-bit floats, and are converted whenever they are needed.
const MOST_WIDE_BYTES: i64 = 2 << 30;

/// Inputs and outputs of each linear layer; between two of them is a ReLU.
pub type Layers = Vec<[i64; 2]>;

pub struct Objective {
    chunks: Vec<Chunk>,
    layers: Layers,
    /// `[features]`: the feature vectors are centred, which changes nothing but the biases and lets the search converge sooner.
    mean: Tensor,
    /// Of each input of the first layer.
    variance: Vec<f64>,
    /// The mean variance of a feature.
    spread: f64,
    /// `[features, inputs]`, orthonormal: the directions in which the features vary, which are the inputs of a single layer. The penalty
    /// and so the solution remain what they are, and the search, whose scale is by input, finds it in far fewer steps.
    directions: Option<Tensor>,
    threads: usize,
}

struct Chunk {
    /// `[N, features]`, centred 64-bit floats or 32-bit floats as they are.
    features: Tensor,
    labels: Tensor,
    /// Of all chunks together, they are 1.
    weights: Tensor,
}

impl Objective {
    /// `features` are `[N, features]`, 32-bit floats; `labels` the class of each, `weights` its weight.
    pub fn new(features: &Tensor, labels: &[i64], weights: &[f64], layers: Layers, threads: u32) -> Self {
        let features = features.to_device(Device::Cpu);
        let rows = features.size()[0];
        let parts = parts(&features);
        let (mean, variance) = moments(&parts, rows);
        let wide = 8 * features.numel() as i64 <= MOST_WIDE_BYTES;
        let total: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
        let (labels, shares) = (Tensor::from_slice(labels), Tensor::from_slice(&shares));
        let mut first = 0;
        let chunk = |part: Tensor| {
            let count = part.size()[0];
            let chunk = Chunk {
                features: if wide {
                    centred(&part, &mean)
                } else {
                    part.contiguous()
                },
                labels: labels.narrow(0, first, count).unsqueeze(1),
                weights: shares.narrow(0, first, count).unsqueeze(1),
            };
            first += count;
            chunk
        };
        let chunks: Vec<Chunk> = parts.into_iter().map(chunk).collect();
        let variance = numbers(&variance);
        let mut objective = Self {
            chunks,
            layers,
            mean,
            spread: average(&variance),
            variance,
            directions: None,
            threads: threads.max(1) as usize,
        };
        if wide {
            objective.turn(rows);
        }
        objective
    }

    /// Makes the directions in which the features vary the inputs of a single layer, where they are found quickly.
    fn turn(&mut self, rows: i64) {
        let [[features, classes]] = self.layers[..] else {
            return;
        };
        let found = match self.chunks.as_slice() {
            [all] if rows < features => of_few(&all.features),
            chunks if features <= MOST_TURNED => of_many(chunks),
            _ => return,
        };
        let (squares, directions) = found;
        for chunk in &mut self.chunks {
            chunk.features = chunk.features.matmul(&directions);
        }
        self.variance = numbers(&(squares / rows as f64));
        self.layers = vec![[self.variance.len() as i64, classes]];
        self.directions = Some(directions);
    }

    /// The mean variance of a feature.
    pub fn spread(&self) -> f64 {
        self.spread
    }

    /// Whether there is one solution: with a single layer.
    pub fn is_convex(&self) -> bool {
        self.layers.len() == 1
    }

    /// Parameters of 0.
    pub fn nothing(&self) -> Vec<f64> {
        let count: i64 = self.layers.iter().map(|[from, to]| (from + 1) * to).sum();
        vec![0.0; count as usize]
    }

    /// An approximation of the inverse of the second derivatives by each parameter. That of a linear layer is a share of the variance of its
    /// inputs; of a first of two layers it is not known.
    pub fn scale(&self, l2: f64) -> Vec<f64> {
        let [layer] = self.layers.as_slice() else {
            return vec![1.0; self.nothing().len()];
        };
        let classes = layer[1] as f64;
        // Of the softmax where all classes are equally likely.
        let share = (1.0 - 1.0 / classes) / classes;
        let least = 1e-6 * self.spread().max(f64::MIN_POSITIVE);
        let row = || {
            self.variance
                .iter()
                .map(|variance| 1.0 / (share * variance.max(least) + l2))
        };
        let weights = (0..layer[1]).flat_map(|_| row());
        let biases = (0..layer[1]).map(|_| 1.0 / share);
        weights.chain(biases).collect()
    }

    /// Value and gradient for the layers' weights `[to, from]` and biases, one after another.
    pub fn at(&self, parameters: &[f64], l2: f64) -> Point {
        let parts = self.parts(parameters);
        let mut value = 0.0;
        let mut gradient = vec![0.0; parameters.len()];
        for part in parts {
            value += part.value;
            gradient
                .iter_mut()
                .zip(part.gradient)
                .for_each(|(sum, part)| *sum += part);
        }
        let mut first = 0;
        for [from, to] in &self.layers {
            let weights = (from * to) as usize;
            for place in first..first + weights {
                value += l2 / 2.0 * parameters[place] * parameters[place];
                gradient[place] += l2 * parameters[place];
            }
            first += weights + *to as usize;
        }
        Point { value, gradient }
    }

    /// Of each chunk, without the penalty.
    fn parts(&self, parameters: &[f64]) -> Vec<Point> {
        let threads = self.threads.min(self.chunks.len());
        if threads <= 1 {
            let layers = self.tensors(parameters);
            return self
                .chunks
                .iter()
                .map(|chunk| chunk.at(&layers, &self.mean))
                .collect();
        }
        let mut parts: Vec<Option<Point>> = vec![None; self.chunks.len()];
        thread::scope(|scope| {
            let shares: Vec<_> = (0..threads)
                .map(|number| {
                    let chunks: Vec<(usize, Chunk)> = (number..self.chunks.len())
                        .step_by(threads)
                        .map(|index| (index, self.chunks[index].share()))
                        .collect();
                    let (layers, mean) = (self.tensors(parameters), self.mean.shallow_clone());
                    scope.spawn(move || {
                        // On one thread each, whatever else the process does.
                        tch::set_num_threads(1);
                        let at = |(index, chunk): (usize, Chunk)| (index, chunk.at(&layers, &mean));
                        chunks.into_iter().map(at).collect::<Vec<_>>()
                    })
                })
                .collect();
            for share in shares {
                let done = share
                    .join()
                    .unwrap_or_else(|fault| std::panic::resume_unwind(fault));
                for (index, part) in done {
                    parts[index] = Some(part);
                }
            }
        });
        parts.into_iter().flatten().collect()
    }

    /// Weight and bias of each layer.
    fn tensors(&self, parameters: &[f64]) -> Vec<[Tensor; 2]> {
        let mut rest = parameters;
        let mut next = |shape: &[i64]| {
            let (own, after) = rest.split_at(shape.iter().product::<i64>() as usize);
            rest = after;
            Tensor::from_slice(own).view(shape)
        };
        let layer = |&[from, to]: &[i64; 2]| [next(&[to, from]), next(&[to])];
        self.layers.iter().map(layer).collect()
    }

    /// The parameters for centred features as weights and biases for the features themselves.
    pub fn uncentred(&self, parameters: &[f64]) -> Vec<[Tensor; 2]> {
        self.moved(parameters, -1.0)
    }

    /// The parameters of several layers for centred features that compute what these compute for the features themselves.
    pub fn centred(&self, parameters: &[f64]) -> Vec<f64> {
        let tensors = self.moved(parameters, 1.0);
        tensors.iter().flatten().flat_map(numbers).collect()
    }

    fn moved(&self, parameters: &[f64], sign: f64) -> Vec<[Tensor; 2]> {
        let mut layers = self.tensors(parameters);
        if let (Some([weight, _]), Some(directions)) = (layers.first_mut(), &self.directions) {
            *weight = weight.matmul(&directions.tr());
        }
        if let Some([weight, bias]) = layers.first_mut() {
            *bias = &*bias + weight.mv(&self.mean) * sign;
        }
        layers
    }
}

impl Chunk {
    fn share(&self) -> Self {
        Self {
            features: self.features.shallow_clone(),
            labels: self.labels.shallow_clone(),
            weights: self.weights.shallow_clone(),
        }
    }

    fn at(&self, layers: &[[Tensor; 2]], mean: &Tensor) -> Point {
        let features = match self.features.kind() {
            Kind::Double => self.features.shallow_clone(),
            _ => centred(&self.features, mean),
        };
        let mut inputs = vec![features];
        let mut logits = Tensor::new();
        for (number, [weight, bias]) in layers.iter().enumerate() {
            logits = inputs[number].linear(weight, Some(bias));
            if number + 1 < layers.len() {
                inputs.push(logits.relu());
            }
        }
        let log = logits.log_softmax(1, Kind::Double);
        let chosen = log.gather(1, &self.labels, false);
        let value = -(chosen * &self.weights).sum(Kind::Double).double_value(&[]);
        let mut slope = (log.exp() * &self.weights).scatter_add(1, &self.labels, &self.weights.neg());
        let mut gradients = Vec::new();
        for (input, [weight, _]) in inputs.iter().zip(layers).rev() {
            gradients.push([
                slope.tr().matmul(input),
                slope.sum_dim_intlist([0i64].as_slice(), false, Kind::Double),
            ]);
            if gradients.len() < layers.len() {
                slope = slope.matmul(weight) * input.gt(0.0);
            }
        }
        Point {
            value,
            gradient: gradients.iter().rev().flatten().flat_map(numbers).collect(),
        }
    }
}

/// The mean variance of a feature, of feature vectors `[N, features]`.
pub fn spread(features: &Tensor) -> f64 {
    let (_, variance) = moments(&parts(features), features.size()[0]);
    average(&numbers(&variance))
}

fn average(variance: &[f64]) -> f64 {
    variance.iter().sum::<f64>() / variance.len().max(1) as f64
}

/// The images of each chunk.
fn parts(features: &Tensor) -> Vec<Tensor> {
    let rows = features.size()[0];
    let parts = (0..rows).step_by(CHUNK as usize);
    parts
        .map(|first| features.narrow(0, first, CHUNK.min(rows - first)))
        .collect()
}

fn centred(features: &Tensor, mean: &Tensor) -> Tensor {
    features.to_kind(Kind::Double) - mean
}

/// Sums of squares of centred features along the directions in which they vary, and these directions, of fewer images than features: by the
/// products of the images with each other.
fn of_few(features: &Tensor) -> (Tensor, Tensor) {
    let (squares, shares) = varying(&features.matmul(&features.tr()));
    let directions = features.tr().matmul(&shares) / squares.sqrt();
    (squares, directions)
}

/// The same of many images, by the products of the features.
fn of_many(chunks: &[Chunk]) -> (Tensor, Tensor) {
    let products = chunks
        .iter()
        .map(|chunk| chunk.features.tr().matmul(&chunk.features));
    let products = products.reduce(|sum, next| sum + next);
    varying(&products.unwrap_or_else(Tensor::new))
}

/// The eigenvalues that are more than rounding, and their eigenvectors.
fn varying(products: &Tensor) -> (Tensor, Tensor) {
    let (squares, vectors) = products.linalg_eigh("L");
    let kept = squares
        .gt_tensor(&(squares.max() * ROUNDING))
        .nonzero()
        .squeeze_dim(1);
    (squares.index_select(0, &kept), vectors.index_select(1, &kept))
}

/// Mean and variance of each feature.
fn moments(parts: &[Tensor], rows: i64) -> (Tensor, Tensor) {
    let over = |part: Tensor| part.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
    let sum = |of: &dyn Fn(&Tensor) -> Tensor| {
        let sums = parts.iter().map(|part| over(of(part)));
        sums.reduce(|sum, next| sum + next).unwrap_or_default() / rows as f64
    };
    let mean = sum(&|part| part.to_kind(Kind::Double));
    let variance = sum(&|part| centred(part, &mean).square());
    (mean, variance)
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.contiguous().view(-1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, fs, path::Path};

    use serde::Deserialize;

    use super::{
        super::lbfgs::{Minimum, Stop, minimised},
        *,
    };
    use crate::worker::nets::tests::values;

    fn solved(objective: &Objective, start: Vec<f64>, l2: f64, gradient: f64) -> Minimum {
        let stop = Stop {
            gradient,
            iterations: 5000,
        };
        let endless = || Ok::<_, Infallible>(true);
        let found = minimised(
            start,
            &objective.scale(l2),
            stop,
            |at| objective.at(at, l2),
            endless,
        );
        match found {
            Ok(minimum) => minimum,
            Err(never) => match never {},
        }
    }

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    /// A regression as scikit-learn solves it, see `scripts/metrics`.
    #[derive(Deserialize)]
    struct Case {
        name: String,
        l2: f64,
        balanced: bool,
        features: Vec<Vec<f32>>,
        labels: Vec<i64>,
        weight: Vec<Vec<f64>>,
        bias: Vec<f64>,
        objective: f64,
        loss: f64,
    }

    #[test]
    fn a_linear_head_is_scikit_learns_logistic_regression() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logistic.json");
        let golden: Golden = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(golden.cases.len(), 5);
        for case in golden.cases {
            let (rows, columns) = (case.features.len() as i64, case.features[0].len() as i64);
            let classes = case.bias.len() as i64;
            let features = Tensor::from_slice(&case.features.concat()).view([rows, columns]);
            let labels: Vec<u32> = case.labels.iter().map(|class| *class as u32).collect();
            let weights = match case.balanced {
                true => {
                    let by_class =
                        crate::worker::train::input::balance::class_weights(&labels, classes as usize);
                    labels.iter().map(|class| by_class[*class as usize]).collect()
                }
                false => vec![1.0; labels.len()],
            };
            let layers = vec![[columns, classes]];
            let objective = Objective::new(&features, &case.labels, &weights, layers, 1);
            let start = objective.nothing();
            let found = solved(&objective, start, case.l2, 1e-11);
            assert!(found.converged, "{}: {} iterations", case.name, found.iterations);
            assert!((found.value - case.objective).abs() <= 1e-9, "{}", case.name);
            let plain = objective.at(&found.at, 0.0).value;
            assert!((plain - case.loss).abs() <= 1e-6, "{}", case.name);
            let [[weight, bias]] = objective.uncentred(&found.at).try_into().unwrap();
            let expected = Tensor::from_slice(&case.weight.concat()).view([classes, columns]);
            let off = (weight - expected).abs().max().double_value(&[]);
            assert!(off <= 1e-4, "{}: weights off by {off:e}", case.name);
            // The mean of all biases has no effect.
            let bias = &bias - bias.mean(Kind::Double);
            let off = (bias - Tensor::from_slice(&case.bias))
                .abs()
                .max()
                .double_value(&[]);
            assert!(off <= 1e-4, "{}: biases off by {off:e}", case.name);
        }
    }

    fn drawn(rows: i64, threads: u32, layers: Layers) -> Objective {
        let features = (values("features", &[rows, 6]) + 1.0).to_kind(Kind::Float);
        let labels: Vec<i64> = (0..rows).map(|row| (row * row + row / 7) % 3).collect();
        let weights: Vec<f64> = labels.iter().map(|class| 1.0 + *class as f64).collect();
        Objective::new(&features, &labels, &weights, layers, threads)
    }

    fn start(objective: &Objective) -> Vec<f64> {
        let count = objective.scale(0.0).len() as i64;
        numbers(&(values("start", &[count]) * 0.5))
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_value() {
        for layers in [vec![[6, 3]], vec![[6, 5], [5, 3]]] {
            let objective = drawn(50, 1, layers);
            let at = start(&objective);
            let gradient = objective.at(&at, 0.3).gradient;
            for (place, slope) in gradient.into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut at = at.clone();
                    at[place] += by;
                    objective.at(&at, 0.3).value
                };
                let found = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((found - slope).abs() < 1e-7, "{place}: {found} {slope}");
            }
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        for (layers, gradient) in [(vec![[6, 3]], 1e-10), (vec![[6, 5], [5, 3]], 1e-4)] {
            let minimum = |threads| {
                let objective = drawn(3 * CHUNK + 17, threads, layers.clone());
                let start = start(&objective);
                solved(&objective, start, 1e-2, gradient)
            };
            let one = minimum(1);
            assert!(one.converged && one.iterations > 3, "{}", one.iterations);
            assert_eq!(one, minimum(2));
            assert_eq!(one, minimum(5));
        }
    }

    #[test]
    fn centring_moves_only_the_biases_and_back() {
        let objective = drawn(40, 1, vec![[6, 5], [5, 3]]);
        let at = start(&objective);
        let moved: Vec<f64> = objective
            .uncentred(&at)
            .iter()
            .flatten()
            .flat_map(numbers)
            .collect();
        assert!(moved[..30] == at[..30] && moved[30..35] != at[30..35] && moved[35..] == at[35..]);
        let back = objective.centred(&moved);
        assert!(
            back.iter()
                .zip(&at)
                .all(|(one, other)| (one - other).abs() < 1e-12)
        );
    }
}
