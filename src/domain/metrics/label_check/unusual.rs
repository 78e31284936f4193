//! Images that are unlike all others, and images that are nearly the same under different labels: by the distances of their features.

/// Neighbours of each image that are looked at (as in cleanlab).
pub const NEIGHBOURS: usize = 10;

/// A modified z-score above this is an outlier (Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers").
const MOST_DEVIATION: f64 = 3.5;
/// The median absolute deviation of the standard normal distribution: its quantile at 0.75.
const NORMAL_DEVIATION: f64 = 0.674_489_750_196_081_7;
/// Nearly the same are images that are no farther apart than this share of the usual distance to the nearest image (as in cleanlab's near
/// duplicates).
const DUPLICATE_SHARE: f64 = 0.13;
/// The rounding of the distance of equal features.
const ROUNDING: f64 = 1e-6;

/// The nearest images of each image, itself left out, nearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    count: usize,
    places: Vec<usize>,
    distances: Vec<f64>,
}

impl Neighbours {
    /// Rows of `count` neighbours, at least one: the place of each among the images, and its distance, 0 to 2.
    ///
    /// # Errors
    /// The sizes do not match, or a distance is not a number.
    pub fn new(count: usize, places: Vec<usize>, distances: Vec<f64>) -> Result<Self, &'static str> {
        if count == 0 || places.len() != distances.len() || !places.len().is_multiple_of(count) {
            return Err("the images do not have the same number of neighbours");
        }
        if distances.iter().any(|distance| distance.is_nan()) {
            return Err("a distance is not a number");
        }
        Ok(Self {
            count,
            places,
            distances,
        })
    }

    pub fn images(&self) -> usize {
        self.places.len() / self.count
    }

    /// Place and distance of each neighbour.
    fn of(&self, image: usize) -> impl Iterator<Item = (usize, f64)> {
        let row = image * self.count..(image + 1) * self.count;
        let places = self.places[row.clone()].iter().copied();
        places.zip(self.distances[row].iter().copied())
    }

    /// How far away its neighbours are on average.
    pub fn mean_distance(&self, image: usize) -> f64 {
        let sum: f64 = self.of(image).map(|(_, distance)| distance).sum();
        sum / self.count as f64
    }

    /// Images whose mean distance is above the usual by more than is usual, the farthest first. There are none where at least half of the
    /// images have the same mean distance.
    pub fn outliers(&self) -> Vec<usize> {
        let means: Vec<f64> = (0..self.images())
            .map(|image| self.mean_distance(image))
            .collect();
        let middle = median(&means);
        let deviations: Vec<f64> = means.iter().map(|mean| (mean - middle).abs()).collect();
        let deviation = median(&deviations);
        let is_far = |mean: f64| NORMAL_DEVIATION * (mean - middle) > MOST_DEVIATION * deviation;
        let mut far: Vec<usize> = (0..means.len())
            .filter(|&image| deviation > 0.0 && is_far(means[image]))
            .collect();
        far.sort_by(|&one, &other| means[other].total_cmp(&means[one]));
        far
    }

    /// Images with a neighbour of another label that is nearly the same, the most alike first, each with all such neighbours.
    pub fn duplicates(&self, labels: &[u32]) -> Vec<(usize, Vec<usize>)> {
        let nearest: Vec<f64> = self.distances.iter().step_by(self.count).copied().collect();
        let most = (DUPLICATE_SHARE * median(&nearest)).max(ROUNDING);
        let mut found: Vec<(f64, usize, Vec<usize>)> = Vec::new();
        for image in 0..self.images() {
            let contradicts = |&(place, distance): &(usize, f64)| {
                distance <= most && labels.get(place) != labels.get(image)
            };
            let twins: Vec<(usize, f64)> = self.of(image).filter(contradicts).collect();
            if let Some((_, distance)) = twins.first() {
                let places = twins.iter().map(|(place, _)| *place).collect();
                found.push((*distance, image, places));
            }
        }
        found.sort_by(|one, other| one.0.total_cmp(&other.0));
        found
            .into_iter()
            .map(|(_, image, places)| (image, places))
            .collect()
    }
}

/// The mean of the two middle ones of an even number; NaN of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[half],
        _ => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}
