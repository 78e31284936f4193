//! BatchNorm's statistics measured anew on the images of the target domain (Li et al. 2016, "Revisiting Batch Normalization For Practical
//! Domain Adaptation").

use super::score::plain_batches;
use crate::worker::autograd::without_gradients;
use crate::worker::{
    fault,
    nets::layers::Mode,
    train::{
        context::TrainContext,
        input::feed::Feed,
        learner::Learner,
        progress::{halt::Halt, pulse::Heartbeat},
    },
};

/// Replaces the running statistics of the stages that are not frozen, in the network that is evaluated, by their means over batches of all
/// training images of this context, each as validation sees it. Every layer gets its input normalised by its batch, as in training. The
/// result depends on the weights alone, not on the statistics before.
///
/// # Errors
/// [`Halt::Stopped`] if the server wants the child to stop; then some statistics may have changed.
pub fn measure(
    learner: &Learner,
    context: &TrainContext,
    feed: &Feed,
    heartbeat: &mut Heartbeat,
) -> Result<(), Halt> {
    let feed = feed.without_activations();
    let mut batches = plain_batches(&feed, context, &context.data.train);
    let mut seen = 0;
    while let Some(batch) = batches.next(learner)? {
        heartbeat.beat()?;
        seen += batch.images;
        let share = Some(batch.images as f64 / seen as f64);
        let _ = fault::caught(|| {
            without_gradients(|| learner.eval_features(&batch.boundary, Mode::Batch { share }))
        })?;
    }
    Ok(())
}
