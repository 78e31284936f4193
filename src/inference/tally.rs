//! How many questions each model was asked and answered, and how many the network answered at once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use prometheus_client::metrics::histogram::Histogram;

use crate::domain::{id::ModelId, models::model::Model};

/// Models that are counted by themselves; those that come later are counted together.
const MOST: usize = 100;

#[derive(Default)]
pub struct Tally(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    by_model: HashMap<ModelId, ModelCounts>,
    others: ModelCounts,
}

/// The questions of one model since the server was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelCounts {
    /// `insects@2`, as it was called when it was first asked; empty for all that are counted together.
    pub model: String,
    pub answered: u64,
    /// Those that were refused, came too late or had no image.
    pub failed: u64,
}

impl Tally {
    pub fn note(&self, model: &Model, is_answered: bool) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = counts.by_model.len() >= MOST && !counts.by_model.contains_key(&model.id);
        let count = match is_full {
            true => &mut counts.others,
            false => counts.by_model.entry(model.id).or_insert_with(|| ModelCounts {
                model: format!("{}@{}", model.name, model.version),
                ..ModelCounts::default()
            }),
        };
        match is_answered {
            true => count.answered += 1,
            false => count.failed += 1,
        }
    }

    /// In no order. Models of one name and version, such as one that was renamed and its successor, are one.
    pub fn counts(&self) -> Vec<ModelCounts> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_name = HashMap::<&str, ModelCounts>::new();
        for count in counts.by_model.values().chain([&counts.others]) {
            let sum = by_name.entry(&count.model).or_insert_with(|| ModelCounts {
                model: count.model.clone(),
                ..ModelCounts::default()
            });
            sum.answered += count.answered;
            sum.failed += count.failed;
        }
        by_name.into_values().collect()
    }
}

/// Upper ends of the histogram's buckets, in images.
const SIZES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// Sizes of batches since the server was started. Cheap to clone.
#[derive(Clone)]
pub struct Batches(Histogram);

impl Default for Batches {
    fn default() -> Self {
        Self(Histogram::new(SIZES))
    }
}

impl Batches {
    /// `images` as a reply has it: 0 where no batch is told of.
    pub fn note(&self, images: u32) {
        if images > 0 {
            self.0.observe(f64::from(images));
        }
    }

    pub fn histogram(&self) -> Histogram {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Stand;

    #[tokio::test]
    async fn many_models_take_no_more_than_their_room() {
        let stand = Stand::new().await;
        let mut model = stand.model().await;
        let tally = Tally::default();
        for number in 0..MOST as u32 + 7 {
            model.id = ModelId::new();
            model.version = number;
            tally.note(&model, true);
            tally.note(&model, number % 2 == 0);
        }
        let counts = tally.counts();
        assert_eq!(counts.len(), MOST + 1);
        let of = |name: &str| counts.iter().find(|count| count.model == name).unwrap();
        assert_eq!((of("insects@0").answered, of("insects@1").failed), (2, 1));
        let others = of("");
        assert_eq!(others.answered + others.failed, 14);
    }
}
