//! Held to what scikit-learn computed (`scripts/metrics` makes the golden file), and to what can be said without it.

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
    labels: Vec<u32>,
    loss: f64,
    accuracy: f64,
    top5_accuracy: f64,
    macro_f1: f64,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<u64>,
    confusion: Vec<Vec<u64>>,
    ece: f64,
    temperature: f64,
    calibrated_loss: f64,
    calibrated_ece: f64,
}

fn golden() -> Vec<Case> {
    let text = include_str!("../../../tests/golden/metrics.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    assert!(golden.cases.len() >= 5);
    golden.cases
}

fn logits(rows: &[Vec<f32>], labels: &[u32]) -> Logits {
    let mut logits = Logits::new(rows[0].len());
    logits.extend(&rows.concat(), labels).unwrap();
    logits
}

#[track_caller]
fn same(name: &str, what: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() < 1e-9, "{name}: {what}: {ours} {theirs}");
}

#[test]
fn every_number_is_scikit_learns() {
    for case in golden() {
        let name = case.name.as_str();
        let logits = logits(&case.logits, &case.labels);
        let verdicts = logits.verdicts(1.0);
        let confusion = Confusion::of(logits.labels(), &verdicts, logits.classes());
        assert_eq!(confusion.counts, case.confusion, "{name}");
        same(name, "loss", mean_loss(&verdicts), case.loss);
        same(name, "accuracy", confusion.accuracy(), case.accuracy);
        same(name, "top 5", logits.top_k_accuracy(5), case.top5_accuracy);
        same(name, "macro F1", confusion.macro_f1(), case.macro_f1);
        for (class, scores) in confusion.scores().iter().enumerate() {
            same(name, "precision", scores.precision, case.precision[class]);
            same(name, "recall", scores.recall, case.recall[class]);
            same(name, "F1", scores.f1, case.f1[class]);
            assert_eq!(scores.support, case.support[class], "{name}");
        }
        let ece = expected_calibration_error(logits.labels(), &verdicts);
        same(name, "ECE", ece, case.ece);
    }
}

#[test]
fn the_temperature_is_where_the_loss_is_lowest() {
    for case in golden() {
        let name = case.name.as_str();
        let logits = logits(&case.logits, &case.labels);
        let temperature = fit_temperature(&logits).unwrap();
        // A minimum is flat: what its search can tell of the place is half of the digits that it can tell of the value.
        let off = (temperature / case.temperature - 1.0).abs();
        assert!(off < 1e-6, "{name}: {temperature} {}", case.temperature);
        let verdicts = logits.verdicts(temperature);
        same(name, "loss", mean_loss(&verdicts), case.calibrated_loss);
        let ece = expected_calibration_error(logits.labels(), &logits.verdicts(case.temperature));
        same(name, "ECE", ece, case.calibrated_ece);
        let beside = |factor: f64| mean_loss(&logits.verdicts(temperature * factor));
        assert!(mean_loss(&verdicts) < beside(1.01).min(beside(0.99)), "{name}");
    }
}

#[test]
fn images_that_do_not_determine_a_temperature_give_none() {
    let all_right = logits(&[vec![1.0, 0.0], vec![0.0, 2.0]], &[0, 1]);
    assert_eq!(fit_temperature(&all_right), None);
    let all_wrong = logits(&[vec![1.0, 0.0], vec![0.0, 2.0]], &[1, 0]);
    assert_eq!(fit_temperature(&all_wrong), None);
    let indifferent = logits(&[vec![1.0, 1.0], vec![2.0, 2.0]], &[1, 0]);
    assert_eq!(fit_temperature(&indifferent), None);
    assert_eq!(fit_temperature(&Logits::new(3)), None);
}

#[test]
fn equal_outputs_mean_the_first_class_and_huge_ones_do_not_overflow() {
    let even = logits(&[vec![2.0, 2.0, 2.0]], &[1]);
    assert_eq!(even.verdicts(1.0)[0].predicted, 0);
    assert_eq!((even.top_k_accuracy(1), even.top_k_accuracy(2)), (0.0, 1.0));
    let huge = logits(&[vec![3e38, -3e38]], &[0]);
    let verdict = huge.verdicts(1.0)[0];
    assert_eq!((verdict.confidence, verdict.loss), (1.0, 0.0));
}

#[test]
fn rows_that_cannot_be_measured_are_refused() {
    let mut logits = Logits::new(2);
    assert!(logits.extend(&[0.0, 1.0, 2.0], &[0]).is_err());
    assert!(logits.extend(&[0.0, 1.0], &[2]).is_err());
    assert!(logits.extend(&[0.0, f32::NAN], &[0]).is_err());
    assert_eq!(logits.images(), 0);
}
