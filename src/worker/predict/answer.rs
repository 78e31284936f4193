//! From a network's output for an image to the requested reply.

use super::{decode::DecodedImage, overlay};
use crate::{
    domain::{
        metrics::{multi_label::sigmoid, multi_task},
        models::{
            model::ModelCard,
            prediction::{ClassProbability, PredictionTiming},
        },
        spec::Task,
    },
    protocol::frames::{PredictOutcome, PredictTask},
};

/// A network's output for one image.
#[derive(Debug, Default)]
pub(super) struct Computed {
    pub logits: Vec<f32>,
    /// The feature vector, if requested.
    pub features: Vec<f32>,
    /// The evidence for a class at each position, row by row, if an explanation was requested.
    pub evidence: Vec<Vec<f32>>,
}

impl Computed {
    pub fn of_logits(logits: Vec<f32>) -> Self {
        Self {
            logits,
            ..Self::default()
        }
    }

    /// The likeliest class; the first of equal ones. None if the output is not finite.
    pub fn best(&self) -> Option<u32> {
        let finite = self.logits.iter().all(|logit| logit.is_finite());
        let places = (0u32..).zip(&self.logits);
        let best = places.reduce(|best, other| if other.1 > best.1 { other } else { best });
        best.filter(|_| finite).map(|(index, _)| index)
    }
}

/// The reply for one image and its body.
pub(super) fn answer(
    image: &DecodedImage,
    computed: Computed,
    timing: PredictionTiming,
) -> (PredictOutcome, Vec<u8>) {
    let card = &image.card;
    let classes = |top_k| likeliest(&computed.logits, card, top_k);
    let answer = match image.task {
        PredictTask::Classify { top_k } => {
            classes(top_k).map(|classes| (PredictOutcome::Predicted { classes, timing }, Vec::new()))
        }
        PredictTask::Embed { normalize } => embedding(&computed.features, normalize)
            .map(|vector| (PredictOutcome::Embedded { timing }, vector)),
        PredictTask::Explain { class } => classes(card.classes.len() as u32).and_then(|classes| {
            let explained = class.or(computed.best());
            let of_class = |found: &&ClassProbability| Some(found.index) == explained;
            let class = classes.iter().find(of_class)?.clone();
            let png = overlay::draw(image.rgb()?, card.preprocessing.crop, &computed.evidence)?;
            Some((PredictOutcome::Explained { class, timing }, png))
        }),
    };
    answer.unwrap_or_else(|| {
        let message = "the network's output is not one finite number for each class of the card".into();
        (PredictOutcome::ModelUnusable { message }, Vec::new())
    })
}

/// A feature vector as bytes; if requested, divided by its Euclidean length (a zero vector is unchanged). None if it contains a number that
/// is not finite.
fn embedding(features: &[f32], normalize: bool) -> Option<Vec<u8>> {
    if features.is_empty() || features.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let squares = features.iter().map(|value| f64::from(*value).powi(2));
    let length = squares.sum::<f64>().sqrt();
    let divisor = if normalize && length > 0.0 { length } else { 1.0 };
    let values = features.iter().map(|value| (f64::from(*value) / divisor) as f32);
    Some(values.flat_map(f32::to_le_bytes).collect())
}

/// The `top_k` likeliest classes of one image, likeliest first, equal ones in class order; of a model of several labels all that it shows,
/// even if they are more, and of a model of several tasks the answer to each. Probabilities are the softmax of the logits (of each task)
/// divided by the temperature, or the sigmoid of each, in 64 bits. None if an output is not finite.
pub(in crate::worker) fn likeliest(
    logits: &[f32],
    card: &ModelCard,
    top_k: u32,
) -> Option<Vec<ClassProbability>> {
    if logits.len() != card.classes.len() || logits.iter().any(|logit| !logit.is_finite()) {
        return None;
    }
    let probabilities = probabilities(logits, card);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Of very sure networks several probabilities are 1: the logits still differ.
    let key = |class: usize| match card.task {
        Task::MultiTask => probabilities[class],
        Task::Single | Task::MultiLabel => f64::from(logits[class]),
    };
    order.sort_by(|a, b| key(*b).total_cmp(&key(*a)).then(a.cmp(b)));
    let most = top_k.max(1) as usize;
    let answers: Vec<u32> = card
        .tasks
        .iter()
        .map(|task| multi_task::likeliest(logits, task))
        .collect();
    let is_predicted = |index: usize| match card.task {
        Task::Single => None,
        Task::MultiLabel => {
            let threshold = card.thresholds.get(index).copied().unwrap_or(0.5);
            Some(probabilities[index] >= threshold)
        }
        Task::MultiTask => Some(answers.contains(&(index as u32))),
    };
    let of_each = order.into_iter().map(|index| ClassProbability {
        label: card.classes[index].clone(),
        index: index as u32,
        probability: probabilities[index],
        predicted: is_predicted(index),
    });
    let found = of_each.enumerate();
    let found = found.filter(|(place, class)| *place < most || class.predicted == Some(true));
    Some(found.map(|(_, class)| class).collect())
}

/// The probability of each class.
fn probabilities(logits: &[f32], card: &ModelCard) -> Vec<f64> {
    match card.task {
        Task::Single => softmax(logits.iter().copied(), card.temperature),
        Task::MultiLabel => {
            let of_each = logits
                .iter()
                .map(|logit| sigmoid(f64::from(*logit) / card.temperature));
            of_each.collect()
        }
        Task::MultiTask => {
            let mut all = vec![0.0; logits.len()];
            for task in &card.tasks {
                let own = task.classes.iter().map(|class| logits[*class as usize]);
                for (class, probability) in task.classes.iter().zip(softmax(own, task.temperature)) {
                    all[*class as usize] = probability;
                }
            }
            all
        }
    }
}

fn softmax(logits: impl Iterator<Item = f32> + Clone, temperature: f64) -> Vec<f64> {
    // The maximum is subtracted first, so that no exponential overflows; the result is the same.
    let largest = f64::from(logits.clone().fold(f32::NEG_INFINITY, f32::max));
    let exponentials: Vec<f64> = logits
        .map(|logit| ((f64::from(logit) - largest) / temperature).exp())
        .collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials
        .into_iter()
        .map(|exponential| exponential / sum)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::models::tasks::tasks_of, worker::files::bundle::tests::card};

    #[test]
    fn probabilities_are_the_softmax_in_falling_order() {
        let card = card(&["a", "b", "c", "d"]);
        let all = likeliest(&[0.0, 3f32.ln(), 0.0, -2f32.ln()], &card, 9).unwrap();
        let labels: Vec<_> = all.iter().map(|class| class.label.as_str()).collect();
        assert_eq!(labels, ["b", "a", "c", "d"]);
        let expected = [3.0 / 5.5, 1.0 / 5.5, 1.0 / 5.5, 0.5 / 5.5];
        for (class, expected) in all.iter().zip(expected) {
            assert!((class.probability - expected).abs() < 1e-7, "{class:?}");
        }
        assert_eq!(likeliest(&[0.0, 1.0, 0.5, 0.25], &card, 1).unwrap()[0].index, 1);
        assert_eq!(likeliest(&[0.0; 4], &card, 0).unwrap().len(), 1);
    }

    #[test]
    fn several_labels_have_probabilities_and_thresholds_of_their_own() {
        let mut card = card(&["a", "b", "c", "d"]);
        card.task = Task::MultiLabel;
        card.thresholds = vec![0.7, 0.5, 0.2, 0.5];
        let logits = [3f32.ln(), 0.0, -3f32.ln(), -9f32.ln()];
        let all = likeliest(&logits, &card, 1).unwrap();
        let found: Vec<_> = all
            .iter()
            .map(|class| (class.label.as_str(), class.predicted))
            .collect();
        assert_eq!(found, [("a", Some(true)), ("b", Some(true)), ("c", Some(true))]);
        for (class, expected) in all.iter().zip([0.75, 0.5, 0.25]) {
            assert!((class.probability - expected).abs() < 1e-7, "{class:?}");
        }
        let all = likeliest(&logits, &card, 9).unwrap();
        assert_eq!((all.len(), all[3].predicted), (4, Some(false)));
    }

    #[test]
    fn several_tasks_have_an_answer_each() {
        let mut card = card(&["a=x", "a=y", "b=1", "b=2", "b=3"]);
        card.task = Task::MultiTask;
        card.tasks = tasks_of(&card.classes).unwrap();
        card.tasks[1].temperature = 2.0;
        let logits = [0.0, 3f32.ln(), 9f32.ln(), 0.0, 0.0];
        let all = likeliest(&logits, &card, 1).unwrap();
        let found: Vec<_> = all
            .iter()
            .map(|class| (class.label.as_str(), class.predicted))
            .collect();
        assert_eq!(found, [("a=y", Some(true)), ("b=1", Some(true))]);
        assert!(
            (all[0].probability - 0.75).abs() < 1e-7 && (all[1].probability - 0.6).abs() < 1e-7,
            "{all:?}"
        );
        let all = likeliest(&logits, &card, 9).unwrap();
        let labels: Vec<_> = all.iter().map(|class| class.label.as_str()).collect();
        assert_eq!(labels, ["a=y", "b=1", "a=x", "b=2", "b=3"]);
        assert_eq!(all[2].predicted, Some(false));
    }

    #[test]
    fn the_cards_temperature_makes_answers_more_modest() {
        let mut card = card(&["a", "b"]);
        card.temperature = 2.0;
        let all = likeliest(&[0.0, 9f32.ln()], &card, 2).unwrap();
        assert_eq!(all[0].label, "b");
        assert!((all[0].probability - 0.75).abs() < 1e-7, "{all:?}");
    }

    #[test]
    fn an_embedding_is_normalised_where_it_is_asked_for() {
        let floats = |bytes: Vec<u8>| -> Vec<f32> {
            let words = bytes.chunks_exact(4);
            words
                .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
                .collect()
        };
        assert_eq!(floats(embedding(&[3.0, 4.0], false).unwrap()), [3.0, 4.0]);
        assert_eq!(floats(embedding(&[3.0, 4.0], true).unwrap()), [0.6, 0.8]);
        assert_eq!(floats(embedding(&[0.0, 0.0], true).unwrap()), [0.0, 0.0]);
        assert_eq!(embedding(&[f32::NAN, 1.0], false), None);
    }

    #[test]
    fn the_best_class_is_the_first_of_the_largest() {
        let best = |logits: &[f32]| Computed::of_logits(logits.to_vec()).best();
        assert_eq!(best(&[0.0, 2.0, 2.0]), Some(1));
        assert_eq!(best(&[0.0, f32::NAN]), None);
    }

    #[test]
    fn huge_logits_do_not_overflow_and_nan_is_no_answer() {
        let card = card(&["a", "b"]);
        let sure = likeliest(&[3e38, -3e38], &card, 2).unwrap();
        assert_eq!((sure[0].probability, sure[1].probability), (1.0, 0.0));
        assert_eq!(likeliest(&[f32::NAN, 0.0], &card, 2), None);
        assert_eq!(likeliest(&[f32::INFINITY, 0.0], &card, 2), None);
        assert_eq!(likeliest(&[0.0; 3], &card, 2), None);
    }
}
