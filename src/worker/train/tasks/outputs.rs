//! A network's outputs for the evaluated images, read back from the device batch by batch.

use tch::{Device, Kind, Tensor};

use crate::{
    domain::{
        jobs::job::FailureCode,
        metrics::{LabelSets, Logits},
    },
    worker::train::{
        input::{
            batch::FeedBatch,
            data::{Data, Sample},
            feed::Feed,
        },
        judge::Evaluator,
        learner::Learner,
        progress::{halt::Halt, pulse::Heartbeat},
    },
};

/// Logits of the evaluated network for the validation images, `[N, classes]` for each batch, still on the device. `each` is called with
/// every batch and its logits.
///
/// # Errors
/// [`Halt::Stopped`] if the server wants the child to stop.
pub fn of_validation(
    learner: &Learner,
    feed: &Feed,
    heartbeat: &mut Heartbeat,
    mut each: impl FnMut(&FeedBatch, &Tensor),
) -> Result<Vec<Tensor>, Halt> {
    let (evaluator, mut batches) = (Evaluator::new(learner), feed.validation());
    let mut outputs = Vec::new();
    while let Some(batch) = batches.next(learner)? {
        heartbeat.beat()?;
        let logits = evaluator.outputs(&batch.boundary)?;
        each(&batch, &logits);
        outputs.push(logits);
    }
    Ok(outputs)
}

/// The outputs of batches, `[N, classes]` each, for consecutive samples, whose labels are in `sets` where they are several.
pub fn joined(outputs: &[Tensor], mut samples: &[Sample], sets: Option<&LabelSets>) -> Result<Logits, Halt> {
    let first = outputs.first();
    let first = first.ok_or_else(|| anyhow::anyhow!("there are no validation images"))?;
    let mut logits = empty(classes_of(first), sets);
    for batch in outputs {
        let (measured, rest) = samples.split_at(samples.len().min(batch.size()[0] as usize));
        append(&mut logits, batch, measured)?;
        samples = rest;
    }
    Ok(logits)
}

/// No outputs yet, for images whose labels are in `sets` where they are several.
pub fn empty(classes: usize, sets: Option<&LabelSets>) -> Logits {
    match sets {
        Some(sets) => Logits::of_sets(classes, sets.clone()),
        None => Logits::new(classes),
    }
}

/// Appends the outputs of a batch, `[N, classes]`, for these samples.
pub fn append(logits: &mut Logits, outputs: &Tensor, samples: &[Sample]) -> Result<(), Halt> {
    let rows = outputs
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous()
        .view(-1);
    let rows: Vec<f32> = Vec::try_from(rows).map_err(anyhow::Error::new)?;
    let labels: Vec<u32> = samples.iter().map(|sample| sample.class).collect();
    let added = logits.extend(&rows, &labels);
    added.map_err(|fault| {
        Halt::failed(
            FailureCode::Diverged,
            format!("the model cannot be evaluated: {fault}"),
        )
    })
}

/// Id and path of the evaluated images, in order.
pub fn images_of(data: &Data) -> impl Iterator<Item = (u32, &str)> {
    data.val.iter().map(|sample| {
        let image = &data.images[sample.image];
        (image.id, image.path.as_str())
    })
}

fn classes_of(outputs: &Tensor) -> usize {
    outputs.size().last().map_or(0, |classes| *classes as usize)
}
