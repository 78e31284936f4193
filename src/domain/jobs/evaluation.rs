//! The quality of a model on labelled images: `evaluation.json`, as the worker writes it and the API returns it.

mod several;
mod tasks;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{adaptation::Adaptation, distillation::Distillation};
use crate::domain::{
    metrics::{self, BINS, ClassScores, Confusion, Logits, Verdict},
    models::{model::DatasetLineage, tasks::TaskOutputs},
    spec::EvaluatedSplit,
};

/// The evaluation of a model on labelled images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evaluation {
    /// Always `evaluation`.
    #[schema(example = "evaluation")]
    pub object: String,
    pub dataset: DatasetLineage,
    /// The split of the dataset that was evaluated.
    pub split: EvaluatedSplit,
    pub images: u64,
    /// Mean cross entropy of the softmax of the logits, before calibration. With several labels, the mean binary cross entropy; with several
    /// tasks, the mean over the tasks, where a label that is missing counts 0.
    pub loss: f64,
    /// Fraction of images whose likeliest class is the right one, 0 to 1. With several labels or tasks: of which all labels are right.
    pub accuracy: f64,
    /// Fraction of images whose class is among the five likeliest, or among all if there are fewer classes. Null with several labels.
    pub top5_accuracy: Option<f64>,
    /// Only with several labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_label: Option<MultiLabelScores>,
    /// Only of a model of several tasks: how good it is in each. The scores above are of all together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskReport>,
    /// Mean F1 over the classes that occur among the images or the predictions, as scikit-learn's `f1_score(average="macro",
    /// zero_division=0)`. With several tasks: the mean over the tasks.
    pub macro_f1: f64,
    pub calibration: Calibration,
    /// The model's classes, in the order of its outputs.
    pub classes: Vec<ClassReport>,
    /// Counts of images: a row for each true class, a column for each predicted class, in the order of `classes`. Empty with several labels; of several
    /// tasks, `tasks` has one each.
    pub confusion_matrix: Vec<Vec<u64>>,
    /// Misclassified images, highest loss first, at most 50.
    pub mistakes: Vec<Mistake>,
    /// Of a model that was adapted to a target domain: how it does there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptation: Option<Adaptation>,
    /// Of a model that learned from others: how it compares with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distillation: Option<Distillation>,
}

/// Whether the model's confidence matches its accuracy (Guo et al. 2017, "On Calibration of Modern Neural Networks").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Calibration {
    /// Probabilities are the softmax of the logits divided by this. Fitted to the lowest loss on the training's validation images; 1 where
    /// these do not determine a value, for example because all of them are classified correctly.
    pub temperature: f64,
    /// Expected calibration error over 15 bins of equal width, without and with the temperature, 0 to 1.
    pub ece_before: f64,
    pub ece_after: f64,
    /// Mean cross entropy with the temperature.
    pub loss_after: f64,
    /// Bins of the expected calibration error.
    #[schema(example = 15)]
    pub bins: u32,
}

/// How good the decisions of a model of several labels are, at the thresholds of its classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MultiLabelScores {
    /// Mean of the classes' `average_precision` (mAP), over the classes that images show; null where there are none.
    pub mean_average_precision: Option<f64>,
    /// Mean of the classes' `auc`, over those that have one.
    pub mean_auc: Option<f64>,
    /// F1 over all decisions of all classes together.
    pub micro_f1: f64,
    /// Fraction of wrong decisions over all images and classes, 0 to 1.
    pub hamming_loss: f64,
}

/// How good a model of several tasks is in one of them, on the images that have a label for it; all 0 where none has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskReport {
    pub name: String,
    /// Images that have a label for it.
    pub images: u64,
    /// Mean cross entropy, before calibration.
    pub loss: f64,
    /// Fraction of these images whose likeliest class is the right one, 0 to 1.
    pub accuracy: f64,
    /// Mean F1 over its classes that occur.
    pub macro_f1: f64,
    pub calibration: Calibration,
    /// The names of its classes, in the order of the matrix.
    pub classes: Vec<String>,
    /// Counts of images: a row for each true class, a column for each predicted class.
    pub confusion_matrix: Vec<Vec<u64>>,
}

/// Scores of one class; 0 where the denominator is 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassReport {
    pub name: String,
    pub index: u32,
    /// Precision: the fraction of the images predicted as this class that belong to it, 0 to 1.
    pub precision: f64,
    /// Recall: the fraction of the images of this class that were predicted as it, 0 to 1.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Images of this class.
    pub support: u64,
    /// Only with several labels: from this probability on an image counts as showing the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Only with several labels, where images show the class: mean precision over these images (scikit-learn's `average_precision_score`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
    /// Likewise, where there are other images, too: area under the ROC curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
}

/// A misclassified image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    /// Id of the image in its dataset version.
    pub image: u32,
    /// As in the archive.
    pub path: String,
    /// The true class; with several labels, all of them in words (`labels` has them as a list).
    pub class: String,
    /// The predicted class; with several labels as `class`.
    pub predicted: String,
    /// Probability of the predicted class, with the temperature, 0 to 1. With several labels: of the wrong decision that was surest.
    pub probability: f64,
    /// Cross entropy, without the temperature.
    pub loss: f64,
    /// Only with several labels: the true ones, and those that were predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_labels: Option<Vec<String>>,
}

/// What was evaluated, besides the numbers.
pub struct Subject<'a> {
    pub dataset: DatasetLineage,
    pub split: EvaluatedSplit,
    /// Names of the model's classes in the order of its outputs.
    pub classes: &'a [String],
    pub temperature: f64,
    /// Of a model of several labels: the threshold of each class.
    pub thresholds: &'a [f64],
    /// Of a model of several tasks: these.
    pub tasks: &'a [TaskOutputs],
}

impl Subject<'_> {
    fn names(&self, labels: &[u32]) -> Vec<String> {
        let names = labels.iter().map(|label| self.classes[*label as usize].clone());
        names.collect()
    }
}

impl Evaluation {
    /// How many mistakes are listed at most.
    pub const MISTAKES: usize = 50;

    /// Evaluates `logits`, whose rows belong to `images`: the id and path of each. There is at least one.
    pub fn of<'i>(
        subject: &Subject,
        logits: &Logits,
        images: impl Iterator<Item = (u32, &'i str)>,
    ) -> Evaluation {
        if !subject.tasks.is_empty() {
            return tasks::of(subject, logits, images);
        }
        if logits.has_several_labels() {
            return several::of(subject, logits, images);
        }
        let (plain, calibrated) = (logits.verdicts(1.0), logits.verdicts(subject.temperature));
        let confusion = Confusion::of(logits.labels(), &plain, logits.classes());
        Evaluation {
            object: "evaluation".to_owned(),
            dataset: subject.dataset.clone(),
            split: subject.split,
            images: logits.images() as u64,
            loss: metrics::mean_loss(&plain),
            accuracy: confusion.accuracy(),
            top5_accuracy: Some(logits.top_k_accuracy(5)),
            multi_label: None,
            tasks: Vec::new(),
            macro_f1: confusion.macro_f1(),
            calibration: Calibration {
                temperature: subject.temperature,
                ..calibration(logits.labels(), &plain, &calibrated)
            },
            classes: reports(subject.classes, &confusion),
            mistakes: worst(subject.classes, logits.labels(), &plain, &calibrated, images),
            confusion_matrix: confusion.counts,
            adaptation: None,
            distillation: None,
        }
    }
}

/// Without the temperature.
fn calibration(labels: &[u32], plain: &[Verdict], calibrated: &[Verdict]) -> Calibration {
    Calibration {
        temperature: 1.0,
        ece_before: metrics::expected_calibration_error(labels, plain),
        ece_after: metrics::expected_calibration_error(labels, calibrated),
        loss_after: metrics::mean_loss(calibrated),
        bins: BINS as u32,
    }
}

fn reports(classes: &[String], confusion: &Confusion) -> Vec<ClassReport> {
    let scores = (0..).zip(classes.iter().zip(confusion.scores()));
    scores
        .map(|(index, (name, scores))| ClassReport::of(index, name, scores))
        .collect()
}

impl ClassReport {
    fn of(index: u32, name: &str, scores: ClassScores) -> Self {
        Self {
            name: name.to_owned(),
            index,
            precision: scores.precision,
            recall: scores.recall,
            f1: scores.f1,
            support: scores.support,
            threshold: None,
            average_precision: None,
            auc: None,
        }
    }
}

fn worst<'i>(
    classes: &[String],
    labels: &[u32],
    plain: &[Verdict],
    calibrated: &[Verdict],
    images: impl Iterator<Item = (u32, &'i str)>,
) -> Vec<Mistake> {
    let mut wrong = Vec::new();
    for (place, (image, path)) in images.enumerate() {
        let (truth, verdict) = (labels[place] as usize, plain[place]);
        if verdict.predicted != truth {
            wrong.push(Mistake {
                image,
                path: path.to_owned(),
                class: classes[truth].clone(),
                predicted: classes[verdict.predicted].clone(),
                probability: calibrated[place].confidence,
                loss: verdict.loss,
                labels: None,
                predicted_labels: None,
            });
        }
    }
    highest_loss_first(wrong)
}

/// Labels for people.
fn in_words(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

fn highest_loss_first(mut wrong: Vec<Mistake>) -> Vec<Mistake> {
    wrong.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.image.cmp(&b.image)));
    wrong.truncate(Evaluation::MISTAKES);
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{id::DatasetId, name::Name};

    #[test]
    fn the_worst_mistakes_come_first_and_name_their_images() {
        let mut logits = Logits::new(2);
        let rows: Vec<f32> = vec![1.0, 0.0, 0.0, 3.0, 0.0, 1.0, 2.0, 0.0];
        logits.extend(&rows, &[0, 0, 0, 1]).unwrap();
        let classes = ["ants".to_owned(), "bees".to_owned()];
        let subject = Subject {
            dataset: DatasetLineage {
                id: DatasetId::new(),
                name: Name::parse("insects").unwrap(),
                version: 1,
                sha256: "0".repeat(64),
                content_sha256: None,
            },
            split: EvaluatedSplit::Val,
            classes: &classes,
            temperature: 2.0,
            thresholds: &[],
            tasks: &[],
        };
        let paths = [(4, "a.png"), (7, "b.png"), (8, "c.png"), (9, "d.png")];
        let evaluation = Evaluation::of(&subject, &logits, paths.into_iter());
        let told: Vec<_> = evaluation
            .mistakes
            .iter()
            .map(|mistake| (mistake.image, mistake.path.as_str(), mistake.predicted.as_str()))
            .collect();
        assert_eq!(
            told,
            [(7, "b.png", "bees"), (9, "d.png", "ants"), (8, "c.png", "bees")]
        );
        let sure = 1.0 / (1.0 + (-1.5f64).exp());
        assert!((evaluation.mistakes[0].probability - sure).abs() < 1e-12);
        assert!((evaluation.mistakes[0].loss - (3.0 + (-3f64).exp().ln_1p())).abs() < 1e-12);
        assert_eq!(evaluation.confusion_matrix, [[1, 2], [1, 0]]);
        assert_eq!((evaluation.accuracy, evaluation.top5_accuracy), (0.25, Some(1.0)));
    }
}
