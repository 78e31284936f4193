//! What other programs compute, for tests of this folder.

use serde::Deserialize;
use tch::Tensor;

/// Losses as numpy computes them, see `scripts/metrics`.
#[derive(Deserialize)]
pub struct Golden {
    pub simsiam: Simsiam,
    pub dino: Dino,
    pub knn: Knn,
}

pub type Rows = Vec<Vec<f32>>;

#[derive(Deserialize)]
pub struct Simsiam {
    pub predicted: [Rows; 2],
    pub projected: [Rows; 2],
    pub loss: f64,
}

#[derive(Deserialize)]
pub struct Dino {
    pub student: [Rows; 2],
    pub teacher: [Rows; 2],
    pub centre: Vec<f32>,
    pub loss: f64,
}

/// Of scikit-learn's nearest neighbours with the votes of the paper.
#[derive(Deserialize)]
pub struct Knn {
    pub known: Rows,
    pub known_labels: Vec<u32>,
    pub asked: Rows,
    pub predicted: Vec<u32>,
    pub spread: f64,
}

pub fn golden() -> Golden {
    let text = include_str!("../../../../../tests/golden/pretraining.json");
    serde_json::from_str(text).unwrap()
}

pub fn tensor(rows: &[Vec<f32>]) -> Tensor {
    let width = rows[0].len() as i64;
    Tensor::from_slice(&rows.concat()).view([-1, width])
}
