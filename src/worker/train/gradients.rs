//! The gradients of one step's pictures, added up from as many parts as batches and memory ask for.

use std::ops::Range;

use super::{
    input::{data::Data, feed::Batches, portion::Portion},
    learner::{Learner, Outcome, Part},
    progress::halt::Halt,
};

/// Adds them up for the pictures at these places among the training images, which `batches` gives next; `steps` were before. Lowers the
/// portion where memory asks for it.
pub fn add_up(
    learner: &mut Learner,
    portion: &mut Portion,
    data: &Data,
    batches: &mut Batches,
    places: &[usize],
    steps: u64,
) -> Result<Outcome, Halt> {
    let step_weight = learner
        .loss
        .weight(places.iter().map(|place| data.train[*place].class));
    let (mut outcomes, mut first_row) = (Vec::new(), 0);
    while first_row < places.len() {
        let batch = batches.next(learner)?;
        let batch = batch.ok_or_else(|| anyhow::anyhow!("an epoch has fewer batches than it should"))?;
        let parts = portion.each(batch.images as usize, |rows: Range<usize>| {
            let (start, length) = (rows.start as i64, rows.len() as i64);
            let part = Part {
                step: steps,
                first_row: first_row + rows.start,
                step_weight,
            };
            let labels = batch.labels.narrow(start, length);
            learner.accumulate(&batch.boundary.narrow(0, start, length), &labels, part)
        })?;
        outcomes.extend(parts);
        first_row += batch.images as usize;
    }
    let outcome = Outcome::sum(outcomes);
    Ok(outcome.ok_or_else(|| anyhow::anyhow!("a step has no pictures"))?)
}
