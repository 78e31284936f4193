//! Which images train, which validate, which test, where the dataset does not say so itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::random::{Draws, Stream};

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    Val,
    Test,
}

/// Shares of the whole and the seed that picks them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SplitSpec {
    /// Share of each class's images for validation, 0 to 0.9. Not used where the dataset brings its own validation images.
    #[schema(minimum = 0.0, maximum = 0.9, default = 0.2)]
    pub val: f64,
    /// Share of each class's images that are kept for testing, 0 to 0.9.
    #[schema(minimum = 0.0, maximum = 0.9, default = 0.0)]
    pub test: f64,
    #[schema(default = 0)]
    pub seed: u64,
}

impl Default for SplitSpec {
    fn default() -> Self {
        Self {
            val: 0.2,
            test: 0.0,
            seed: 0,
        }
    }
}

/// Assigns a part to each image, class by class (stratified): `labels[i]` is the class of image `i`, below `classes`.
/// Each class gives the nearest whole number of images to its share, and keeps at least one for training.
pub fn stratified(labels: &[u32], classes: usize, spec: &SplitSpec) -> Vec<Split> {
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (image, &label) in labels.iter().enumerate() {
        of_class[label as usize].push(image);
    }
    let mut parts = vec![Split::Train; labels.len()];
    for (class, images) in of_class.iter_mut().enumerate() {
        Draws::at(spec.seed, Stream::Split, 0, class as u64).shuffle(images);
        let spare = images.len().saturating_sub(1);
        let val = ((images.len() as f64 * spec.val).round() as usize).min(spare);
        let test = ((images.len() as f64 * spec.test).round() as usize).min(spare - val);
        for &image in &images[..val] {
            parts[image] = Split::Val;
        }
        for &image in &images[val..val + test] {
            parts[image] = Split::Test;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(parts: &[Split], labels: &[u32], class: u32, part: Split) -> usize {
        parts
            .iter()
            .zip(labels)
            .filter(|(p, l)| **p == part && **l == class)
            .count()
    }

    #[test]
    fn every_class_gives_its_share() {
        let labels: Vec<u32> = (0..150).map(|i| u32::from(i >= 100)).collect();
        let parts = stratified(
            &labels,
            2,
            &SplitSpec {
                val: 0.2,
                test: 0.1,
                seed: 3,
            },
        );
        assert_eq!(count(&parts, &labels, 0, Split::Val), 20);
        assert_eq!(count(&parts, &labels, 0, Split::Test), 10);
        assert_eq!(count(&parts, &labels, 1, Split::Val), 10);
        assert_eq!(count(&parts, &labels, 1, Split::Test), 5);
    }

    #[test]
    fn the_seed_decides_and_a_lone_image_trains() {
        let labels = [vec![0; 50], vec![1]].concat();
        let spec = |seed| SplitSpec {
            val: 0.5,
            test: 0.0,
            seed,
        };
        assert_eq!(stratified(&labels, 2, &spec(1)), stratified(&labels, 2, &spec(1)));
        assert_ne!(stratified(&labels, 2, &spec(1)), stratified(&labels, 2, &spec(2)));
        assert_eq!(stratified(&labels, 2, &spec(1))[50], Split::Train);
    }
}
