//! The evaluation of a model of several tasks: each is evaluated by itself, on the images that have a label for it.

use super::{
    Calibration, ClassReport, Evaluation, Mistake, Subject, TaskReport, calibration, highest_loss_first,
    in_words,
};
use crate::domain::{
    metrics::{
        Confusion, Logits, Verdict, mean_loss,
        multi_task::{self, Part},
    },
    models::tasks::TaskOutputs,
};

pub fn of<'i>(
    subject: &Subject,
    logits: &Logits,
    images: impl Iterator<Item = (u32, &'i str)>,
) -> Evaluation {
    let measured: Vec<Measured> = subject
        .tasks
        .iter()
        .map(|task| Measured::of(task, logits))
        .collect();
    let reports: Vec<TaskReport> = measured.iter().map(|task| task.report(subject)).collect();
    let mut classes: Vec<ClassReport> = measured.iter().flat_map(|task| task.classes(subject)).collect();
    classes.sort_by_key(|class| class.index);
    let losses = multi_task::losses(logits, subject.tasks);
    let count = reports.len().max(1) as f64;
    let mean = |of: fn(&TaskReport) -> f64| reports.iter().map(of).sum::<f64>() / count;
    let wrong = wrong_answers(&measured, logits.images());
    let right = wrong.iter().filter(|wrong| wrong.is_empty()).count();
    Evaluation {
        object: "evaluation".to_owned(),
        dataset: subject.dataset.clone(),
        split: subject.split,
        images: logits.images() as u64,
        loss: losses.iter().sum::<f64>() / losses.len() as f64,
        accuracy: right as f64 / logits.images() as f64,
        top5_accuracy: None,
        multi_label: None,
        macro_f1: mean(|task| task.macro_f1),
        calibration: Calibration {
            temperature: subject.temperature,
            ece_before: mean(|task| task.calibration.ece_before),
            ece_after: mean(|task| task.calibration.ece_after),
            loss_after: mean(|task| task.calibration.loss_after),
            bins: crate::domain::metrics::BINS as u32,
        },
        mistakes: mistakes(subject, (logits, &measured), &wrong, &losses, images),
        tasks: reports,
        classes,
        confusion_matrix: Vec::new(),
        adaptation: None,
        distillation: None,
    }
}

/// What a task's outputs say of the images that have a label for it.
struct Measured<'a> {
    task: &'a TaskOutputs,
    part: Part,
    plain: Vec<Verdict>,
    calibrated: Vec<Verdict>,
    confusion: Confusion,
}

/// A wrong answer to a task: its place among the tasks, and the place of the image among those with a label for it.
type Wrong = (usize, usize);

impl<'a> Measured<'a> {
    fn of(task: &'a TaskOutputs, logits: &Logits) -> Self {
        let part = Part::of(logits, task);
        let plain = part.logits.verdicts(1.0);
        Self {
            calibrated: part.logits.verdicts(task.temperature),
            confusion: Confusion::of(part.logits.labels(), &plain, part.logits.classes()),
            task,
            plain,
            part,
        }
    }

    fn report(&self, subject: &Subject) -> TaskReport {
        let name = |class: &u32| subject.classes[*class as usize].clone();
        let images = self.part.logits.images();
        let measured = |value: f64| if images == 0 { 0.0 } else { value };
        let calibration = calibration(self.part.logits.labels(), &self.plain, &self.calibrated);
        TaskReport {
            name: self.task.name.clone(),
            images: images as u64,
            loss: measured(mean_loss(&self.plain)),
            accuracy: measured(self.confusion.accuracy()),
            macro_f1: measured(self.confusion.macro_f1()),
            calibration: Calibration {
                temperature: self.task.temperature,
                loss_after: measured(calibration.loss_after),
                ..calibration
            },
            classes: self.task.classes.iter().map(name).collect(),
            confusion_matrix: self.confusion.counts.clone(),
        }
    }

    fn classes(&self, subject: &Subject) -> Vec<ClassReport> {
        let scores = self.task.classes.iter().zip(self.confusion.scores());
        scores
            .map(|(index, scores)| ClassReport::of(*index, &subject.classes[*index as usize], scores))
            .collect()
    }
}

/// The wrong answers for each image.
fn wrong_answers(measured: &[Measured<'_>], images: usize) -> Vec<Vec<Wrong>> {
    let mut wrong = vec![Vec::new(); images];
    for (place, task) in measured.iter().enumerate() {
        let labels = task.part.logits.labels().iter().zip(&task.plain);
        for (row, (label, verdict)) in labels.enumerate() {
            if verdict.predicted != *label as usize {
                wrong[task.part.images[row]].push((place, row));
            }
        }
    }
    wrong
}

fn mistakes<'i>(
    subject: &Subject,
    (logits, measured): (&Logits, &[Measured<'_>]),
    wrong: &[Vec<Wrong>],
    losses: &[f64],
    images: impl Iterator<Item = (u32, &'i str)>,
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let rows = logits.label_rows().zip(wrong.iter().zip(losses));
    for ((image, path), ((row, labels), (wrong, loss))) in images.zip(rows) {
        if wrong.is_empty() {
            continue;
        }
        let predicted: Vec<u32> = subject
            .tasks
            .iter()
            .map(|task| multi_task::likeliest(row, task))
            .collect();
        let sure = wrong
            .iter()
            .map(|(task, row)| measured[*task].calibrated[*row].confidence);
        let (true_names, predicted) = (subject.names(labels), subject.names(&predicted));
        mistakes.push(Mistake {
            image,
            path: path.to_owned(),
            class: in_words(&true_names),
            predicted: in_words(&predicted),
            probability: sure.fold(0.0, f64::max),
            loss: *loss,
            labels: Some(true_names),
            predicted_labels: Some(predicted),
        });
    }
    highest_loss_first(mistakes)
}
