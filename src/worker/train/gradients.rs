//! The gradients of one step's pictures, added up from as many parts as batches and memory ask for.

use std::ops::Range;

use super::{
    data::Data,
    feed::Batches,
    halt::Halt,
    learner::{Learner, Outcome, Part},
    portion::Portion,
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
            let narrow = |tensor: &tch::Tensor| tensor.narrow(0, rows.start as i64, rows.len() as i64);
            let part = Part {
                step: steps,
                first_row: first_row + rows.start,
                step_weight,
            };
            learner.accumulate(&narrow(&batch.boundary), &narrow(&batch.labels), part)
        })?;
        outcomes.extend(parts);
        first_row += batch.images as usize;
    }
    let outcome = Outcome::sum(outcomes);
    Ok(outcome.ok_or_else(|| anyhow::anyhow!("a step has no pictures"))?)
}
