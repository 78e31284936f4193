//! The curves of a job under the names that other programs are given: those of TensorBoard's users, with the split before the slash.

use super::event::{Event, EventKind};

/// Names with a value at every step event, and the event's field.
const PER_STEP: [(&str, &str); 5] = [
    ("train/loss", "train_loss"),
    ("train/alignment_loss", "alignment_loss"),
    ("train/distillation_loss", "distillation_loss"),
    ("lr", "lr"),
    ("images_per_second", "images_per_second"),
];
/// Names with a value at the end of every epoch.
const PER_EPOCH: [(&str, &str); 8] = [
    ("train/epoch_loss", "train_loss"),
    ("train/accuracy", "train_accuracy"),
    ("val/loss", "val_loss"),
    ("val/accuracy", "val_accuracy"),
    ("val/map", "val_map"),
    ("val/knn_accuracy", "knn_accuracy"),
    ("val/feature_spread", "feature_spread"),
    ("data_wait", "data_wait"),
];
/// What epochs say where there are no step events: a head that is solved has none, and those of old jobs are removed.
const INSTEAD_OF_STEPS: [(&str, &str); 4] = [
    ("train/loss", "train_loss"),
    ("train/alignment_loss", "alignment_loss"),
    ("train/distillation_loss", "distillation_loss"),
    ("lr", "lr"),
];

/// What an event says of its step. `has_steps`: the job has step events.
pub fn scalars(event: &Event, has_steps: bool) -> Vec<(&'static str, f64)> {
    let names: Vec<&(&str, &str)> = match event.kind {
        EventKind::Step => PER_STEP.iter().collect(),
        EventKind::Epoch if has_steps => PER_EPOCH.iter().collect(),
        // Without the loss of the epoch under its own name: it is the loss.
        EventKind::Epoch => INSTEAD_OF_STEPS.iter().chain(&PER_EPOCH[1..]).collect(),
        _ => Vec::new(),
    };
    let value = |(name, field): &(&'static str, &str)| Some((*name, event.data[*field].as_f64()?));
    names.into_iter().filter_map(value).collect()
}
