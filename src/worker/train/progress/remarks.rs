//! What a run says of itself besides its numbers.

use crate::{
    domain::{architecture::Architecture, jobs::job::JobError, spec::Stage},
    protocol::WorkerMessage,
};

/// The run ends with `error`, and the weights of a useful epoch are left.
pub fn divergence(error: &JobError, epoch: u32) -> WorkerMessage {
    let message = format!(
        "{}. Training ends here; the model has the weights of epoch {epoch}, the best so far",
        error.message
    );
    WorkerMessage::warning("diverged", message)
}

/// From `step` on, at most `limit` images of a batch of `whole` are computed together.
pub fn halving(whole: usize, limit: usize, step: u64) -> WorkerMessage {
    let message = format!(
        "memory does not suffice for batches of {whole}: from step {step} on at most {limit} images go through the network together. A step \
         still is over as many images as before; only BatchNorm sees fewer at a time, so that results differ a little from those on a \
         larger device"
    );
    WorkerMessage::warning("batch_halved", message)
}

/// Other stages are frozen from `epoch` on.
pub fn what_learns(architecture: Architecture, frozen: Option<Stage>, epoch: u32) -> WorkerMessage {
    let learns = about_learning(architecture, frozen);
    WorkerMessage::log(format!("from epoch {epoch} on {learns}"))
}

/// What learns where stages up to and with this one are frozen.
pub fn about_learning(architecture: Architecture, frozen: Option<Stage>) -> String {
    match frozen {
        None => "everything learns".to_owned(),
        Some(stage) if stage == architecture.last_stage() => "only the head learns".to_owned(),
        Some(stage) => format!("everything after {} learns", stage.as_str()),
    }
}
