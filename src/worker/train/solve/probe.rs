//! Heads of a single linear layer that are made of some images and judge others: the work of cross-validation. No network takes part.

use tch::{Kind, Tensor};

use super::{
    descent::{Descent, strengths},
    features::{Features, not_finite},
    objective::{Objective, spread},
};
use crate::{
    protocol::WorkerMessage,
    worker::{
        process::child::Reporter,
        train::progress::{halt::Halt, pulse::Heartbeat},
    },
};

pub struct Probe<'a> {
    features: &'a Features,
    classes: usize,
    threads: u32,
    /// Searches that ended before they had converged.
    unconverged: usize,
}

impl<'a> Probe<'a> {
    pub fn new(features: &'a Features, classes: usize, threads: u32) -> Self {
        Self {
            features,
            classes,
            threads,
            unconverged: 0,
        }
    }

    /// The strengths of the penalty to try, from strong to weak.
    pub fn strengths(&self) -> Vec<f64> {
        strengths(spread(&self.features.vectors), 1)
    }

    /// What heads that are made of the images at the places `made_of` say of those at `judged`: logits `[judged, classes]`, 64-bit floats,
    /// for each strength of the penalty.
    ///
    /// # Errors
    /// `diverged` if they are not finite.
    pub fn logits(
        &mut self,
        made_of: &[usize],
        judged: &[usize],
        strengths: &[f64],
        heartbeat: &mut Heartbeat,
    ) -> Result<Vec<Tensor>, Halt> {
        let labels = self.labels(made_of);
        let layers = vec![[self.features.vectors.size()[1], self.classes as i64]];
        let weights = vec![1.0; labels.len()];
        let objective = Objective::new(&self.vectors(made_of), &labels, &weights, layers, self.threads);
        let judged = self.vectors(judged).to_kind(Kind::Double);
        let mut at = objective.nothing();
        let descent = Descent::new(&objective, &at);
        let mut outputs = Vec::new();
        for l2 in strengths {
            let found = descent.minimum(at, *l2, || heartbeat.beat().map(|()| true))?;
            self.unconverged += usize::from(!found.converged);
            at = found.at;
            let layers = objective.uncentred(&at);
            let [[weight, bias]] = layers.as_slice() else {
                return Err(anyhow::anyhow!("a linear head has {} layers", layers.len()).into());
            };
            let logits = judged.linear(weight, Some(bias));
            if logits.isfinite().all().int64_value(&[]) == 0 {
                return Err(not_finite());
            }
            outputs.push(logits);
        }
        Ok(outputs)
    }

    /// Sum of the cross entropies of logits for the images at these places.
    pub fn loss(&self, logits: &Tensor, places: &[usize]) -> f64 {
        let labels = Tensor::from_slice(&self.labels(places)).unsqueeze(1);
        let chosen = logits.log_softmax(-1, Kind::Double).gather(1, &labels, false);
        -chosen.sum(Kind::Double).double_value(&[])
    }

    /// Says how many searches ended too early, if any did.
    pub fn warn(&self, reporter: &Reporter) {
        if self.unconverged > 0 {
            let message = format!(
                "{} heads were used although their solver had not converged; they may be slightly less accurate than they could be",
                self.unconverged
            );
            reporter.send(&WorkerMessage::warning("not_converged", message));
        }
    }

    fn vectors(&self, places: &[usize]) -> Tensor {
        let places: Vec<i64> = places.iter().map(|&place| place as i64).collect();
        self.features
            .vectors
            .index_select(0, &Tensor::from_slice(&places))
    }

    fn labels(&self, places: &[usize]) -> Vec<i64> {
        places.iter().map(|&place| self.features.labels[place]).collect()
    }
}
