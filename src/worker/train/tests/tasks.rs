//! Trainings on several tasks at once.

use serde_json::{Value, json};

use super::{
    drawn::{Drawn, uninterrupted},
    epochs, failed,
    measure::{measure, measured, read},
    resume::stopped_after_every_step,
    trained,
};
use crate::{
    domain::{
        jobs::{evaluation::Evaluation, job::FailureCode},
        spec::Task,
    },
    protocol::TrainRun,
};

const TASKS: [&str; 5] = [
    "figure=disc",
    "figure=square",
    "figure=stripes",
    "striped=no",
    "striped=yes",
];

/// Every fifth image has no answer to the second question.
fn asked(count: u32) -> Drawn {
    let mut set = Drawn::flat(count);
    set.change(|image| {
        let figure = image.class.unwrap_or(0);
        let labels = match image.id % 5 {
            4 => vec![figure],
            _ => vec![figure, if figure == 2 { 4 } else { 3 }],
        };
        *image = image.clone().with_labels(Some(labels));
    });
    set.input.classes = TASKS.map(str::to_owned).to_vec();
    set
}

fn run(set: &Drawn, epochs: u32, loss: &Value) -> TrainRun {
    set.run(json!({
        "task": "multi_task", "backbone": {"architecture": "resnet20", "weights": "none"}, "epochs": epochs, "loss": loss,
        "optimizer": {"name": "adamw", "lr": 0.003},
    }))
}

#[test]
fn several_tasks_are_learnt_and_measured() {
    for loss in [
        json!({}),
        json!({"task_weights": "uncertainty"}),
        json!({"task_weights": {"figure": 3}, "label_smoothing": 0.05}),
    ] {
        let set = asked(60);
        let dir = set.dir("run");
        let attempt = uninterrupted(&run(&set, 12, &loss), &dir);
        let told = epochs(&attempt.messages);
        let result = trained(attempt.result);
        assert!(told.iter().all(|epoch| epoch.val_map.is_none()));
        let metrics = result.card.metrics.clone().unwrap();
        let card = &result.card;
        assert_eq!((card.task, card.temperature), (Task::MultiTask, 1.0));
        let tasks: Vec<_> = card
            .tasks
            .iter()
            .map(|task| (task.name.as_str(), task.classes.clone()))
            .collect();
        assert_eq!(tasks, [("figure", vec![0, 1, 2]), ("striped", vec![3, 4])]);

        let evaluation: Evaluation = read(&dir, result.evaluation.as_ref().unwrap());
        assert!((evaluation.loss - metrics.val_loss.unwrap()).abs() < 1e-5);
        assert!((evaluation.accuracy - metrics.val_accuracy.unwrap()).abs() < 1e-9);
        assert!(evaluation.accuracy > 0.7, "{loss}: {}", evaluation.accuracy);
        assert_eq!((evaluation.top5_accuracy, &evaluation.multi_label), (None, &None));
        let [figure, striped] = &evaluation.tasks[..] else {
            panic!("{:?}", evaluation.tasks)
        };
        assert_eq!(figure.images, evaluation.images);
        assert!(striped.images < evaluation.images, "{evaluation:?}");
        assert!(striped.accuracy >= 0.7 && figure.accuracy >= evaluation.accuracy);
        let counted: u64 = striped.confusion_matrix.iter().flatten().sum();
        assert_eq!((striped.confusion_matrix.len(), counted), (2, striped.images));
        for (report, outputs) in evaluation.tasks.iter().zip(&card.tasks) {
            assert_eq!(report.calibration.temperature, outputs.temperature);
            assert!(report.calibration.loss_after <= report.loss + 1e-12);
        }
        let names: Vec<_> = evaluation
            .classes
            .iter()
            .map(|class| class.name.as_str())
            .collect();
        assert_eq!(names, TASKS);
        let wrong = (1.0 - evaluation.accuracy) * evaluation.images as f64;
        assert_eq!(evaluation.mistakes.len(), wrong.round() as usize);

        let again = set.dir("again");
        let measured = measured(&again, measure((&dir, &result), &set.input, "val", &again));
        assert!((measured.loss - evaluation.loss).abs() < 1e-5);
        assert_eq!(
            (measured.accuracy, measured.mistakes.len()),
            (evaluation.accuracy, evaluation.mistakes.len())
        );
    }
}

#[test]
fn an_interrupted_training_of_several_tasks_has_the_same_bits() {
    let set = asked(32);
    let mut run = run(&set, 2, &json!({"task_weights": "uncertainty"}));
    run.spec.augment.mixup = 0.4;
    run.spec.batch_size = 12;
    stopped_after_every_step(&set, run);
}

#[test]
fn images_with_two_answers_or_none_are_named() {
    for (labels, words) in [
        (vec![0, 1], ["`discs/3.png`", "`figure=disc` and `figure=square`"]),
        (vec![], ["`discs/3.png`", "no label for any task"]),
    ] {
        let mut set = asked(12);
        set.change(|image| {
            if image.id == 3 {
                *image = image.clone().with_labels(Some(labels.clone()));
            }
        });
        let (code, message) = failed(uninterrupted(&run(&set, 1, &json!({})), &set.dir("run")).result);
        assert_eq!(code, FailureCode::InvalidData);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}
