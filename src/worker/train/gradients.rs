//! The gradients of one step's images, accumulated over as many micro-batches as batches and memory require.

use std::ops::Range;

use super::{
    input::{data::Data, feed::Batches, portion::MicroBatches},
    learner::{Learner, MicroBatch, Outcome},
    progress::halt::Halt,
};

/// Accumulates the gradients of the images with these indices among the training images, which are the next ones in `batches`; `steps` is
/// the number of steps before this one. Reduces the micro-batch size if memory requires it.
pub fn accumulate(
    learner: &mut Learner,
    micro_batches: &mut MicroBatches,
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
        let parts = micro_batches.each(batch.images as usize, |rows: Range<usize>| {
            let (start, length) = (rows.start as i64, rows.len() as i64);
            let part = MicroBatch {
                step: steps,
                first_row: first_row + rows.start,
                step_weight,
                share: length as f64 / places.len() as f64,
            };
            learner.accumulate(&batch.narrow(start, length), part)
        })?;
        outcomes.extend(parts);
        first_row += batch.images as usize;
    }
    let outcome = Outcome::sum(outcomes);
    Ok(outcome.ok_or_else(|| anyhow::anyhow!("a step has no images"))?)
}
