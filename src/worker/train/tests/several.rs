//! Trainings on images with several labels.

use serde_json::json;

use super::{
    drawn::{CLASSES, Drawn, uninterrupted},
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

/// Discs are stripes, too; squares are squares; stripes are nothing.
fn several(count: u32) -> Drawn {
    let mut set = Drawn::flat(count);
    set.change(|image| {
        let labels = match image.class {
            Some(0) => vec![0, 2],
            Some(1) => vec![1],
            _ => vec![],
        };
        *image = image.clone().with_labels(Some(labels));
    });
    set
}

fn run(set: &Drawn, epochs: u32, loss: &serde_json::Value) -> TrainRun {
    set.run(json!({
        "task": "multi_label", "backbone": {"architecture": "resnet20", "weights": "none"}, "epochs": epochs, "loss": loss,
        "optimizer": {"name": "adamw", "lr": 0.003},
    }))
}

#[test]
fn several_labels_are_learnt_and_measured() {
    for loss in [json!({}), json!({"name": "asymmetric", "gamma_negative": 2})] {
        let set = several(60);
        let dir = set.dir("run");
        let attempt = uninterrupted(&run(&set, 12, &loss), &dir);
        let told = epochs(&attempt.messages);
        let result = trained(attempt.result);
        assert!(told.iter().all(|epoch| epoch.val_map.is_some()));
        let metrics = result.card.metrics.clone().unwrap();
        let best = told.iter().filter_map(|epoch| epoch.val_map).fold(0.0, f64::max);
        assert_eq!(metrics.val_map, Some(best));
        assert!(best > 0.9, "{loss}: {best}");
        assert_eq!(result.card.task, Task::MultiLabel);
        assert_eq!(result.card.thresholds.len(), CLASSES.len());

        let evaluation: Evaluation = read(&dir, result.evaluation.as_ref().unwrap());
        let scores = evaluation.multi_label.clone().unwrap();
        assert!((scores.mean_average_precision.unwrap() - best).abs() < 1e-6);
        assert!((evaluation.loss - metrics.val_loss.unwrap()).abs() < 1e-5);
        assert!(evaluation.calibration.loss_after <= evaluation.loss + 1e-12);
        assert_eq!(evaluation.top5_accuracy, None);
        assert!(evaluation.accuracy > 0.7, "{}", evaluation.accuracy);
        let wrong = (1.0 - evaluation.accuracy) * evaluation.images as f64;
        assert_eq!(evaluation.mistakes.len(), wrong.round() as usize);
        for (class, threshold) in evaluation.classes.iter().zip(&result.card.thresholds) {
            assert_eq!(class.threshold, Some(*threshold));
        }

        let again = set.dir("again");
        let measured = measured(&again, measure((&dir, &result), &set.input, "val", &again));
        assert!((measured.loss - evaluation.loss).abs() < 1e-5);
        assert_eq!(measured.accuracy, evaluation.accuracy);
        assert_eq!(measured.mistakes.len(), evaluation.mistakes.len());
    }
}

#[test]
fn an_interrupted_training_of_several_labels_has_the_same_bits() {
    let set = several(32);
    let mut run = run(&set, 2, &json!({"name": "asymmetric"}));
    run.spec.augment.mixup = 0.4;
    run.spec.batch_size = 12;
    stopped_after_every_step(&set, run);
}

#[test]
fn images_are_divided_by_their_labels_and_one_class_each_is_refused() {
    let set = several(60);
    let dir = set.dir("run");
    let result = trained(uninterrupted(&run(&set, 1, &json!({})), &dir).result);
    let evaluation: Evaluation = read(&dir, result.evaluation.as_ref().unwrap());
    assert_eq!(evaluation.images, 15);
    assert!(evaluation.classes.iter().all(|class| class.support == 5));

    let single = set.run(json!({"backbone": {"architecture": "resnet20", "weights": "none"}}));
    let (code, message) = failed(uninterrupted(&single, &set.dir("single")).result);
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("multi_label"), "{message}");
}
