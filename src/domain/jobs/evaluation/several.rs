//! The evaluation of a model that tells several labels of an image.

use super::{
    Calibration, ClassReport, Evaluation, Mistake, MultiLabelScores, Subject, highest_loss_first, in_words,
};
use crate::domain::metrics::{
    BINS, Logits,
    multi_label::{
        ClassOutputs, binary_calibration_error, binary_losses, decided, decisions, mean,
        mean_average_precision, sigmoid,
    },
};

pub fn of<'i>(
    subject: &Subject,
    logits: &Logits,
    images: impl Iterator<Item = (u32, &'i str)>,
) -> Evaluation {
    let losses = binary_losses(logits, 1.0);
    let decided = decided(logits, subject.temperature, subject.thresholds);
    let all = decisions(logits, &decided);
    let classes = reports(subject, logits);
    Evaluation {
        object: "evaluation".to_owned(),
        dataset: subject.dataset.clone(),
        split: subject.split,
        images: logits.images() as u64,
        loss: mean(losses.iter().copied()).unwrap_or(f64::NAN),
        accuracy: all.exact,
        top5_accuracy: None,
        multi_label: Some(MultiLabelScores {
            mean_average_precision: mean_average_precision(logits),
            mean_auc: mean(classes.iter().filter_map(|class| class.auc)),
            micro_f1: all.micro_f1,
            hamming_loss: all.hamming_loss,
        }),
        tasks: Vec::new(),
        macro_f1: mean(classes.iter().map(|class| class.f1)).unwrap_or(0.0),
        calibration: Calibration {
            temperature: subject.temperature,
            ece_before: binary_calibration_error(logits, 1.0),
            ece_after: binary_calibration_error(logits, subject.temperature),
            loss_after: mean(binary_losses(logits, subject.temperature)).unwrap_or(f64::NAN),
            bins: BINS as u32,
        },
        mistakes: mistakes(subject, logits, &decided, &losses, images),
        classes,
        confusion_matrix: Vec::new(),
        adaptation: None,
        distillation: None,
    }
}

fn reports(subject: &Subject, logits: &Logits) -> Vec<ClassReport> {
    let classes = (0u32..).zip(subject.classes.iter().zip(subject.thresholds));
    let report = |(index, (name, threshold)): (u32, (&String, &f64))| {
        let outputs = ClassOutputs::of(logits, index as usize, subject.temperature);
        ClassReport {
            threshold: Some(*threshold),
            average_precision: outputs.average_precision(),
            auc: outputs.auc(),
            ..ClassReport::of(index, name, outputs.scores(*threshold))
        }
    };
    classes.map(report).collect()
}

fn mistakes<'i>(
    subject: &Subject,
    logits: &Logits,
    decided: &[Vec<u32>],
    losses: &[f64],
    images: impl Iterator<Item = (u32, &'i str)>,
) -> Vec<Mistake> {
    let mut wrong = Vec::new();
    let outputs = logits.label_rows().zip(decided.iter().zip(losses));
    for ((image, path), ((row, labels), (decided, loss))) in images.zip(outputs) {
        if decided == labels {
            continue;
        }
        let (true_names, predicted) = (subject.names(labels), subject.names(decided));
        wrong.push(Mistake {
            image,
            path: path.to_owned(),
            class: in_words(&true_names),
            predicted: in_words(&predicted),
            probability: surest_mistake(row, labels, decided, subject.temperature),
            loss: *loss,
            labels: Some(true_names),
            predicted_labels: Some(predicted),
        });
    }
    highest_loss_first(wrong)
}

/// The probability, of showing the class or of not showing it, of the wrong decision in which it is highest.
fn surest_mistake(row: &[f32], labels: &[u32], decided: &[u32], temperature: f64) -> f64 {
    let wrong = (0u32..)
        .zip(row)
        .filter(|(class, _)| labels.contains(class) != decided.contains(class));
    let sure = wrong.map(|(class, logit)| {
        let shown = sigmoid(f64::from(*logit) / temperature);
        if decided.contains(&class) {
            shown
        } else {
            1.0 - shown
        }
    });
    sure.fold(0.0, f64::max)
}
