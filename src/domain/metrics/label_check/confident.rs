//! Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"): which labels
//! contradict what the other images teach.

use std::collections::BTreeSet;

/// How far below the threshold a probability still counts as confident: a mean of equal numbers is not exactly that number (as in cleanlab).
const TOLERANCE: f64 = 1e-6;

/// What heads that have not seen an image say about it, for each image.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgements {
    classes: usize,
    /// A row of `classes` for each image.
    probabilities: Vec<f64>,
    labels: Vec<u32>,
}

impl Judgements {
    /// `probabilities` are rows of at least two classes, one per label.
    ///
    /// # Errors
    /// The sizes do not match, a label is not a class, or a probability is not from 0 to 1.
    pub fn new(classes: usize, probabilities: Vec<f64>, labels: Vec<u32>) -> Result<Self, &'static str> {
        if classes < 2 || probabilities.len() != labels.len() * classes {
            return Err("there is not one probability for each image and class");
        }
        if labels.iter().any(|label| *label as usize >= classes) {
            return Err("an image has a class that there is not");
        }
        if !probabilities.iter().all(|value| (0.0..=1.0).contains(value)) {
            return Err("a probability is not from 0 to 1");
        }
        Ok(Self {
            classes,
            probabilities,
            labels,
        })
    }

    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The given classes.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The class that an image is labelled with.
    pub fn given(&self, image: usize) -> usize {
        self.labels[image] as usize
    }

    /// The probability of each class.
    pub fn row(&self, image: usize) -> &[f64] {
        &self.probabilities[image * self.classes..][..self.classes]
    }

    /// The likeliest class; the first of equal ones.
    pub fn likeliest(&self, image: usize) -> usize {
        most(self.row(image), |_| true).unwrap_or_default()
    }

    /// Fraction of the images whose likeliest class is the given one; NaN without images.
    pub fn agreement(&self) -> f64 {
        let images = self.labels.len();
        let agree = (0..images).filter(|&image| self.likeliest(image) == self.given(image));
        agree.count() as f64 / images as f64
    }

    /// How much an image looks like what it is labelled as, 0 to 1: the normalised margin, the probability of its class less that of the
    /// likeliest other one, brought to this range (as in cleanlab). Below 0.5 another class is likelier.
    pub fn quality(&self, image: usize) -> f64 {
        let (row, given) = (self.row(image), self.given(image));
        let other = most(row, |class| class != given).map_or(0.0, |class| row[class]);
        (row[given] - other + 1.0) / 2.0
    }

    /// For each class the mean probability that its own images have of being it (equation 2 of the paper); none without images.
    fn thresholds(&self) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0u64); self.classes];
        for image in 0..self.labels.len() {
            let given = self.given(image);
            let (sum, images) = &mut sums[given];
            *sum += self.row(image)[given];
            *images += 1;
        }
        let mean = |(sum, images): (f64, u64)| (images > 0).then(|| sum / images as f64);
        sums.into_iter().map(mean).collect()
    }
}

/// How often an image labelled as one class is confidently another.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfidentJoint {
    /// Of each class: an image counts as one of it if the probability of that is at least this.
    pub thresholds: Vec<Option<f64>>,
    /// `counts[given][confident]`; images that are confidently of no class are not counted (equation 1 of the paper).
    pub counts: Vec<Vec<u64>>,
    /// Images whose label is probably wrong, the most doubtful first: those off the diagonal, and those that take the place of wrong ones among
    /// the images that are not counted. The likeliest class of none of them is the given one.
    pub issues: Vec<usize>,
    /// The other images whose likeliest class is not the given one, the most doubtful first.
    pub unsure: Vec<usize>,
}

impl ConfidentJoint {
    pub fn of(judgements: &Judgements) -> Self {
        let classes = judgements.classes();
        let thresholds = judgements.thresholds();
        let mut counts = vec![vec![0; classes]; classes];
        let mut issues = BTreeSet::new();
        for image in 0..judgements.labels().len() {
            let (row, given) = (judgements.row(image), judgements.given(image));
            let reaches =
                |class: usize| thresholds[class].is_some_and(|least| row[class] >= least - TOLERANCE);
            let Some(confident) = most(row, reaches) else {
                continue;
            };
            counts[given][confident] += 1;
            if confident != given {
                issues.insert(image);
            }
        }
        for (given, row) in counts.iter().enumerate() {
            issues.extend(by_noise_rate(judgements, given, row));
        }
        let mut doubtful: Vec<usize> = (0..judgements.labels().len())
            .filter(|&image| judgements.likeliest(image) != judgements.given(image))
            .collect();
        doubtful.sort_by(|&one, &other| judgements.quality(one).total_cmp(&judgements.quality(other)));
        let (issues, unsure) = doubtful.into_iter().partition(|image| issues.contains(image));
        Self {
            thresholds,
            counts,
            issues,
            unsure,
        }
    }
}

/// Pruning by noise rate (the paper's method 4): of the images that are labelled as one class, as many as its row of the joint estimates to be
/// of another, those with the largest margin by which the other is likelier.
fn by_noise_rate(judgements: &Judgements, given: usize, row: &[u64]) -> Vec<usize> {
    let labelled: Vec<usize> = (0..judgements.labels().len())
        .filter(|&image| judgements.given(image) == given)
        .collect();
    let counted: u64 = row.iter().sum();
    let mut chosen = Vec::new();
    for other in (0..row.len()).filter(|&other| other != given && row[other] > 0) {
        // The images that are not counted are taken to be wrong as often as those that are.
        let wrong = row[other] as f64 * labelled.len() as f64 / counted as f64;
        let margin = |image: usize| judgements.row(image)[other] - judgements.row(image)[given];
        let mut ranked = labelled.clone();
        ranked.sort_by(|&one, &another| margin(another).total_cmp(&margin(one)));
        chosen.extend(ranked.into_iter().take(wrong.round() as usize));
    }
    chosen
}

/// The class of the largest number among those that are wanted; the first of equal ones.
fn most(row: &[f64], wanted: impl Fn(usize) -> bool) -> Option<usize> {
    let classes = (0..row.len()).filter(|&class| wanted(class));
    classes.reduce(|best, class| if row[class] > row[best] { class } else { best })
}
