//! Log messages and warnings of a run.

use crate::{
    domain::{architecture::Architecture, jobs::job::JobError, spec::Stage},
    protocol::WorkerMessage,
};

/// The run ends with `error`, but a useful epoch's weights are available.
pub fn divergence(error: &JobError, epoch: u32) -> WorkerMessage {
    let message = format!(
        "{}. Training stops here; the model has the weights of epoch {epoch}, the best so far",
        error.message
    );
    WorkerMessage::warning("diverged", message)
}

/// The features of a backbone that learns without labels hardly differ.
pub fn collapse(epoch: u32, spread: f64) -> WorkerMessage {
    let message = format!(
        "after epoch {epoch} all images have almost the same features (a spread of {spread:.3}, where 0 means the same and 1 means as different as \
         possible): what is learned tells nothing apart. If it stays so, lower `optimizer.lr`, or take larger batches"
    );
    WorkerMessage::warning("collapsed", message)
}

/// From `step` on, at most `limit` images of a batch of `whole` are computed together.
pub fn halving(whole: usize, limit: usize, step: u64) -> WorkerMessage {
    let message = format!(
        "not enough memory for batches of {whole}: from step {step} on at most {limit} images go through the network together. A step \
         still is over as many images as before; only BatchNorm sees fewer at a time, so that results differ a little from those on a \
         larger device"
    );
    WorkerMessage::warning("batch_halved", message)
}

/// Different stages are frozen from `epoch` on.
pub fn what_learns(architecture: Architecture, frozen: Option<Stage>, epoch: u32) -> WorkerMessage {
    let learns = about_learning(architecture, frozen);
    WorkerMessage::log(format!("from epoch {epoch} on, {learns}"))
}

/// What is trained if stages up to and including this one are frozen.
pub fn about_learning(architecture: Architecture, frozen: Option<Stage>) -> String {
    match frozen {
        None => "all layers are trained".to_owned(),
        Some(stage) if stage == architecture.last_stage() => "only the head is trained".to_owned(),
        Some(stage) => format!("everything after {} is trained", stage),
    }
}
