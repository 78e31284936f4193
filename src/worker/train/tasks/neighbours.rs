//! The nearest images of each image, by the cosine distance of their features.

use tch::{Kind, Tensor};

use crate::{
    domain::metrics::label_check::Neighbours,
    worker::{
        nets::layers,
        train::progress::{halt::Halt, pulse::Heartbeat},
    },
};

/// Images whose distances to all others are computed together.
const ROWS: i64 = 256;
/// Larger features stay 32-bit floats.
const MOST_WIDE_BYTES: i64 = 2 << 30;

/// `vectors` are `[N, features]` of at least two images; of each the `count` nearest others, or all there are.
pub fn nearest(vectors: &Tensor, count: usize, heartbeat: &mut Heartbeat) -> Result<Neighbours, Halt> {
    let images = vectors.size()[0];
    let count = (count as i64).min(images - 1).max(1);
    let kind = match 8 * vectors.numel() as i64 <= MOST_WIDE_BYTES {
        true => Kind::Double,
        false => Kind::Float,
    };
    let unit = layers::unit(&vectors.to_kind(kind));
    let (mut places, mut distances) = (Vec::new(), Vec::new());
    for first in (0..images).step_by(ROWS as usize) {
        heartbeat.beat()?;
        let rows = ROWS.min(images - first);
        let cosines = unit.narrow(0, first, rows).matmul(&unit.tr());
        // No image is its own neighbour.
        let mut own = cosines.narrow(1, first, rows).diagonal(0, 0, 1);
        let _ = own.fill_(f64::NEG_INFINITY);
        let (near, at) = cosines.topk(count, 1, true, true);
        let near: Vec<f64> = numbers(&near.to_kind(Kind::Double))?;
        let at: Vec<i64> = numbers(&at)?;
        places.extend(at.into_iter().map(|place| place as usize));
        distances.extend(near.into_iter().map(|cosine| (1.0 - cosine).max(0.0)));
    }
    let neighbours = Neighbours::new(count as usize, places, distances);
    Ok(neighbours.map_err(anyhow::Error::msg)?)
}

/// Of length 1.
fn numbers<T: tch::kind::Element + Copy>(tensor: &Tensor) -> anyhow::Result<Vec<T>> {
    Ok(Vec::try_from(tensor.contiguous().view(-1))?)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{
        domain::metrics::label_check::NEIGHBOURS,
        worker::process::child::{Reporter, StopFlag},
    };

    #[derive(Deserialize)]
    struct Golden {
        features: Vec<Case>,
    }

    /// Distances as scikit-learn computes them, see `scripts/metrics`.
    #[derive(Deserialize)]
    struct Case {
        name: String,
        labels: Vec<u32>,
        features: Vec<Vec<f32>>,
        mean_distance: Vec<f64>,
        outliers: Vec<usize>,
        duplicates: Vec<(usize, Vec<usize>)>,
    }

    #[test]
    fn distances_are_scikit_learns() {
        let text = include_str!("../../../../tests/golden/label_check.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        for case in golden.features {
            let (rows, columns) = (case.features.len() as i64, case.features[0].len() as i64);
            let vectors = Tensor::from_slice(&case.features.concat()).view([rows, columns]);
            let mut heartbeat = Heartbeat::new(&Reporter::to(std::io::sink()), &StopFlag::default());
            let found = nearest(&vectors, NEIGHBOURS, &mut heartbeat).unwrap();
            for (image, theirs) in case.mean_distance.iter().enumerate() {
                let off = (found.mean_distance(image) - theirs).abs();
                assert!(off < 1e-9, "{}: {image}: {off:e}", case.name);
            }
            assert_eq!(found.outliers(), case.outliers, "{}", case.name);
            let mut duplicates = found.duplicates(&case.labels);
            duplicates.sort();
            assert_eq!(duplicates, case.duplicates, "{}", case.name);
        }
    }

    #[test]
    fn more_images_than_are_computed_together_have_neighbours_too() {
        let images = 2 * ROWS + 7;
        // On a circle: the nearest of each are those beside it.
        let angles: Vec<f64> = (0..images)
            .map(|image| image as f64 * std::f64::consts::TAU / images as f64)
            .collect();
        let vectors: Vec<f32> = angles
            .iter()
            .flat_map(|angle| [angle.cos() as f32, angle.sin() as f32])
            .collect();
        let vectors = Tensor::from_slice(&vectors).view([images, 2]);
        let mut heartbeat = Heartbeat::new(&Reporter::to(std::io::sink()), &StopFlag::default());
        let found = nearest(&vectors, 2, &mut heartbeat).unwrap();
        assert_eq!(found.images() as i64, images);
        let expected = 1.0 - angles[1].cos();
        for image in 0..images as usize {
            let off = (found.mean_distance(image) - expected).abs();
            assert!(off < 1e-6, "{image}: {off:e}");
        }
    }
}
