//! Metrics of outputs for images with several labels, where each class is a question of its own: shown or not. As scikit-learn computes them.

use super::{BINS, ClassScores, Logits, calibration};

/// What a network says of one class for each image, and the truth, most probable first.
#[derive(Clone, Debug)]
pub struct ClassOutputs {
    sorted: Vec<Output>,
    shown: usize,
}

#[derive(Clone, Copy, Debug)]
struct Output {
    /// Tells apart what has the same probability after rounding.
    logit: f64,
    probability: f64,
    shown: bool,
}

impl ClassOutputs {
    /// Of this class, with logits divided by `temperature`.
    pub fn of(logits: &Logits, class: usize, temperature: f64) -> Self {
        let outputs = logits.label_rows().map(|(row, labels)| {
            let logit = f64::from(row[class]);
            Output {
                logit,
                probability: sigmoid(logit / temperature),
                shown: labels.contains(&(class as u32)),
            }
        });
        Self::sorted(outputs.collect())
    }

    fn sorted(mut outputs: Vec<Output>) -> Self {
        outputs.sort_by(|a, b| b.logit.total_cmp(&a.logit));
        Self {
            shown: outputs.iter().filter(|output| output.shown).count(),
            sorted: outputs,
        }
    }

    /// Mean precision over the images that show the class, each at the threshold at which it is found (`average_precision_score`); none where
    /// no image shows it.
    pub fn average_precision(&self) -> Option<f64> {
        let mut sum = 0.0;
        let mut before = 0;
        for (found, right) in self.cuts() {
            sum += (right - before) as f64 * right as f64 / found as f64;
            before = right;
        }
        (self.shown > 0).then(|| sum / self.shown as f64)
    }

    /// The probability that an image that shows the class gets a higher output than one that does not, ties counted half (`roc_auc_score`);
    /// none where one of the two kinds is missing.
    pub fn auc(&self) -> Option<f64> {
        let others = self.sorted.len() - self.shown;
        let (mut area, mut before) = (0.0, (0, 0));
        for (found, right) in self.cuts() {
            let wrong = found - right;
            area += (wrong - before.1) as f64 * (right + before.0) as f64 / 2.0;
            before = (right, wrong);
        }
        (self.shown > 0 && others > 0).then(|| area / (self.shown * others) as f64)
    }

    /// The threshold at which F1 is highest, in the middle between two probabilities; of several, the one nearest to one half. One half where
    /// no image shows the class.
    pub fn best_threshold(&self) -> f64 {
        let mut best = (0.0, 0.5);
        for (found, right) in self.cuts() {
            let f1 = 2.0 * right as f64 / (found + self.shown) as f64;
            let below = self.sorted.get(found).map_or(0.0, |next| next.probability);
            let threshold = f64::midpoint(self.sorted[found - 1].probability, below);
            let nearer = (threshold - 0.5).abs() < (best.1 - 0.5f64).abs();
            if f1 > best.0 || (f1 == best.0 && f1 > 0.0 && nearer) {
                best = (f1, threshold);
            }
        }
        best.1
    }

    /// Where images from this probability on count as showing the class.
    pub fn scores(&self, threshold: f64) -> ClassScores {
        let found = self
            .sorted
            .iter()
            .take_while(|output| output.probability >= threshold);
        let (count, right) = found.fold((0u64, 0u64), |(count, right), output| {
            (count + 1, right + u64::from(output.shown))
        });
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                0.0
            } else {
                part as f64 / whole as f64
            }
        };
        ClassScores {
            precision: share(right, count),
            recall: share(right, self.shown as u64),
            f1: share(2 * right, count + self.shown as u64),
            support: self.shown as u64,
        }
    }

    /// For each different output: how many images have at least it, and how many of these show the class.
    fn cuts(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut right = 0;
        let places = self.sorted.iter().enumerate();
        places.filter_map(move |(place, output)| {
            right += usize::from(output.shown);
            let next = self.sorted.get(place + 1);
            let is_last = next.is_none_or(|next| next.logit < output.logit);
            is_last.then_some((place + 1, right))
        })
    }
}

/// Mean of the classes' average precision (mAP) before calibration, over the classes that an image shows; none where there are none.
pub fn mean_average_precision(logits: &Logits) -> Option<f64> {
    let each =
        (0..logits.classes()).filter_map(|class| ClassOutputs::of(logits, class, 1.0).average_precision());
    mean(each)
}

/// None of nothing.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.into_iter().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The threshold of each class at which its F1 is highest for these images.
pub fn thresholds(logits: &Logits, temperature: f64) -> Vec<f64> {
    let classes = 0..logits.classes();
    classes
        .map(|class| ClassOutputs::of(logits, class, temperature).best_threshold())
        .collect()
}

/// What thresholds decide about all images together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decisions {
    /// Fraction of images of which every class is decided rightly (`accuracy_score`).
    pub exact: f64,
    /// Fraction of wrong decisions (`hamming_loss`).
    pub hamming_loss: f64,
    /// F1 over all decisions (`f1_score(average="micro")`).
    pub micro_f1: f64,
}

/// The labels of each image by these thresholds, one for each class, ascending.
pub fn decided(logits: &Logits, temperature: f64, thresholds: &[f64]) -> Vec<Vec<u32>> {
    let of_row = |row: &[f32]| {
        let classes = (0u32..).zip(row.iter().zip(thresholds));
        let found = classes
            .filter(|(_, (logit, threshold))| sigmoid(f64::from(**logit) / temperature) >= **threshold);
        found.map(|(class, _)| class).collect()
    };
    logits.label_rows().map(|(row, _)| of_row(row)).collect()
}

/// Compares decided labels with those of the images.
pub fn decisions(logits: &Logits, decided: &[Vec<u32>]) -> Decisions {
    let (mut exact, mut right, mut found, mut shown) = (0u64, 0u64, 0u64, 0u64);
    for ((_, labels), decided) in logits.label_rows().zip(decided) {
        let common = decided.iter().filter(|label| labels.contains(label)).count();
        exact += u64::from(common == labels.len() && common == decided.len());
        right += common as u64;
        found += decided.len() as u64;
        shown += labels.len() as u64;
    }
    let all = (logits.images() * logits.classes()).max(1) as f64;
    Decisions {
        exact: exact as f64 / logits.images().max(1) as f64,
        hamming_loss: (found + shown - 2 * right) as f64 / all,
        micro_f1: match found + shown {
            0 => 0.0,
            both => 2.0 * right as f64 / both as f64,
        },
    }
}

/// Binary cross entropy of each image, the mean over its classes, with logits divided by `temperature`.
pub fn binary_losses(logits: &Logits, temperature: f64) -> Vec<f64> {
    let of_row = |(row, labels): (&[f32], &[u32])| {
        let each = (0u32..).zip(row).map(|(class, logit)| {
            let logit = f64::from(*logit) / temperature;
            softplus(logit) - if labels.contains(&class) { logit } else { 0.0 }
        });
        each.sum::<f64>() / row.len().max(1) as f64
    };
    logits.label_rows().map(of_row).collect()
}

/// The temperature at which the mean binary cross entropy is lowest; none where it keeps falling.
pub fn fit_binary_temperature(logits: &Logits) -> Option<f64> {
    calibration::lowest(logits.images(), |inverse| {
        let (mut slope, mut curvature) = (0.0, 0.0);
        for (row, labels) in logits.label_rows() {
            for (class, logit) in (0u32..).zip(row) {
                let logit = f64::from(*logit);
                let probability = sigmoid(logit * inverse);
                slope += logit * (probability - f64::from(u8::from(labels.contains(&class))));
                curvature += logit * logit * probability * (1.0 - probability);
            }
        }
        let decisions = (logits.images() * logits.classes()) as f64;
        (slope / decisions, curvature / decisions)
    })
}

/// Expected calibration error of all decisions: the mean distance between the probability and the fraction of images that show the class,
/// over [`BINS`] bins of equal width, weighted by their decisions.
pub fn binary_calibration_error(logits: &Logits, temperature: f64) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    for (row, labels) in logits.label_rows() {
        for (class, logit) in (0u32..).zip(row) {
            let probability = sigmoid(f64::from(*logit) / temperature);
            let bin = (probability * BINS as f64).ceil() as usize;
            let (sum, shown) = &mut bins[bin.clamp(1, BINS) - 1];
            *sum += probability;
            *shown += f64::from(u8::from(labels.contains(&class)));
        }
    }
    let off: f64 = bins.iter().map(|(sum, shown)| (sum - shown).abs()).sum();
    off / (logits.images() * logits.classes()).max(1) as f64
}

/// The probability of a class, given its logit.
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

fn softplus(value: f64) -> f64 {
    value.max(0.0) + (-value.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        logits: Vec<Vec<f32>>,
        labels: Vec<Vec<u32>>,
        temperature: f64,
        loss: f64,
        calibrated_loss: f64,
        ece: f64,
        average_precision: Vec<Option<f64>>,
        mean_average_precision: f64,
        auc: Vec<Option<f64>>,
        best_f1: Vec<f64>,
        precision: Vec<f64>,
        recall: Vec<f64>,
        f1: Vec<f64>,
        support: Vec<u64>,
        exact: f64,
        hamming_loss: f64,
        micro_f1: f64,
    }

    fn logits(case: &Case) -> Logits {
        let mut logits = Logits::of_sets(case.logits[0].len(), Arc::new(case.labels.clone()));
        let sets: Vec<u32> = (0..case.labels.len() as u32).collect();
        logits.extend(&case.logits.concat(), &sets).unwrap();
        logits
    }

    #[test]
    fn every_number_is_scikit_learns() {
        let golden: Golden =
            serde_json::from_str(include_str!("../../../tests/golden/multi_label.json")).unwrap();
        assert!(golden.cases.len() >= 4);
        for case in golden.cases {
            let (name, logits) = (case.name.as_str(), logits(&case));
            let same = |what: &str, ours: f64, theirs: f64| {
                assert!((ours - theirs).abs() < 1e-9, "{name}: {what}: {ours} {theirs}");
            };
            same("loss", mean(binary_losses(&logits, 1.0)).unwrap(), case.loss);
            same("ece", binary_calibration_error(&logits, 1.0), case.ece);
            same(
                "mAP",
                mean_average_precision(&logits).unwrap(),
                case.mean_average_precision,
            );
            let fitted = fit_binary_temperature(&logits).unwrap();
            assert!((fitted / case.temperature - 1.0).abs() < 1e-5, "{name}: {fitted}");
            let temperature = case.temperature;
            same(
                "calibrated",
                mean(binary_losses(&logits, temperature)).unwrap(),
                case.calibrated_loss,
            );
            let thresholds = thresholds(&logits, temperature);
            for (class, threshold) in thresholds.iter().enumerate() {
                let outputs = ClassOutputs::of(&logits, class, temperature);
                let of_class = |what: &str| format!("{what} of {class}");
                match (outputs.average_precision(), case.average_precision[class]) {
                    (Some(ours), Some(theirs)) => same(&of_class("average precision"), ours, theirs),
                    (ours, theirs) => assert_eq!(ours, theirs, "{name}"),
                }
                match (outputs.auc(), case.auc[class]) {
                    (Some(ours), Some(theirs)) => same(&of_class("auc"), ours, theirs),
                    (ours, theirs) => assert_eq!(ours, theirs, "{name}"),
                }
                let scores = outputs.scores(0.5);
                same(&of_class("precision"), scores.precision, case.precision[class]);
                same(&of_class("recall"), scores.recall, case.recall[class]);
                same(&of_class("f1"), scores.f1, case.f1[class]);
                assert_eq!(scores.support, case.support[class], "{name}");
                let best = outputs.scores(*threshold).f1;
                same(&of_class("best f1"), best, case.best_f1[class]);
            }
            let decided = decided(&logits, temperature, &vec![0.5; logits.classes()]);
            let all = decisions(&logits, &decided);
            same("exact", all.exact, case.exact);
            same("hamming loss", all.hamming_loss, case.hamming_loss);
            same("micro f1", all.micro_f1, case.micro_f1);
        }
    }

    #[test]
    fn a_threshold_is_between_two_probabilities_and_one_half_where_nothing_says_better() {
        let of = |outputs: &[(f64, bool)]| {
            let output = |(probability, shown): &(f64, bool)| Output {
                logit: *probability,
                probability: *probability,
                shown: *shown,
            };
            ClassOutputs::sorted(outputs.iter().map(output).collect())
        };
        assert_eq!(
            of(&[(0.9, true), (0.7, true), (0.3, false)]).best_threshold(),
            0.5
        );
        assert_eq!(
            of(&[(0.9, true), (0.8, false), (0.8, true)]).best_threshold(),
            0.4
        );
        assert_eq!(of(&[(0.9, false), (0.1, false)]).best_threshold(), 0.5);
        assert_eq!(of(&[]).best_threshold(), 0.5);
    }
}
