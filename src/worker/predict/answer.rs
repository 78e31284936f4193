//! From logits to the likeliest classes.

use crate::domain::model::{ClassProbability, ModelCard};

/// The `top_k` likeliest classes of one picture, likeliest first, equal ones in class order. Probabilities are the softmax of the
/// logits divided by the card's temperature, in 64 bits. None where the network gave something that is not a number: that is no answer.
pub(super) fn likeliest(logits: &[f32], card: &ModelCard, top_k: u32) -> Option<Vec<ClassProbability>> {
    if logits.len() != card.classes.len() || logits.iter().any(|logit| !logit.is_finite()) {
        return None;
    }
    // The largest is taken off first, so that no exponential overflows; it changes nothing in the result.
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exponentials: Vec<f64> = logits
        .iter()
        .map(|logit| ((f64::from(*logit) - largest) / card.temperature).exp())
        .collect();
    let sum: f64 = exponentials.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    order.truncate(top_k.max(1) as usize);
    let class = |index: usize| ClassProbability {
        label: card.classes[index].clone(),
        index: index as u32,
        probability: exponentials[index] / sum,
    };
    Some(order.into_iter().map(class).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::bundle::tests::card;

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
    fn the_cards_temperature_makes_answers_more_modest() {
        let mut card = card(&["a", "b"]);
        card.temperature = 2.0;
        let all = likeliest(&[0.0, 9f32.ln()], &card, 2).unwrap();
        assert_eq!(all[0].label, "b");
        assert!((all[0].probability - 0.75).abs() < 1e-7, "{all:?}");
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
