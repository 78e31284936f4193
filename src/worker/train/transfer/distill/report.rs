//! What a distillation has brought.

use tch::{Device, Kind};

use super::teachers::{Teacher, Teachers};
use crate::{
    domain::{
        jobs::distillation::{Distillation, NetworkCost},
        metrics::{Confusion, Logits},
    },
    worker::{
        files::state::StateDict,
        nets::{Network, folded::Folded},
        train::{
            context::TrainContext,
            input::{batch::FeedBatch, feed::Feed},
            learner::Learner,
            progress::{halt::Halt, pulse::Heartbeat},
            tasks::{latency, outputs},
        },
    },
};

/// A student at the end of its training.
pub struct Student<'a> {
    pub learner: &'a Learner,
    /// Its best weights, as far as they were trained.
    pub weights: &'a StateDict,
    /// Their outputs for the validation images.
    pub logits: &'a Logits,
    /// Of its input, in pixels.
    pub side: u32,
    /// Accuracy of the same training without teachers.
    pub alone: Option<f64>,
}

/// What its teachers have brought a student.
pub fn of(
    teachers: &Teachers,
    student: &Student,
    context: &TrainContext,
    feed: &Feed,
    heartbeat: &mut Heartbeat,
) -> Result<Distillation, Halt> {
    let said = taught(student.learner, context, feed, heartbeat)?;
    Ok(Distillation {
        teachers: teachers.each().iter().map(cost).collect(),
        teacher_accuracy: accuracy(&said),
        student: student.cost(context)?,
        student_accuracy: accuracy(student.logits),
        alone_accuracy: student.alone,
    })
}

/// For a log.
pub fn about(found: &Distillation) -> String {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let alone = found.alone_accuracy.map_or(String::new(), |alone| {
        format!(", {} without teachers", percent(alone))
    });
    format!(
        "of the validation images the teachers get {} right, the student {}{alone}",
        percent(found.teacher_accuracy),
        percent(found.student_accuracy)
    )
}

/// What the teachers say of the validation images: probabilities in place of logits, whose order is the same.
fn taught(
    learner: &Learner,
    context: &TrainContext,
    feed: &Feed,
    heartbeat: &mut Heartbeat,
) -> Result<Logits, Halt> {
    let mut said = Vec::new();
    let feed = feed.without_activations();
    let mut batches = feed.taught_validation();
    while let Some(FeedBatch { lesson, .. }) = batches.next(learner)? {
        heartbeat.beat()?;
        said.extend(lesson.map(|lesson| lesson.probabilities));
    }
    outputs::joined(&said, &context.data.val, None)
}

pub fn accuracy(logits: &Logits) -> f64 {
    Confusion::of(logits.labels(), &logits.verdicts(1.0), logits.classes()).accuracy()
}

fn cost(teacher: &Teacher) -> NetworkCost {
    NetworkCost {
        model: Some(teacher.model),
        architecture: teacher.architecture,
        image_size: teacher.recipe.crop,
        parameters: teacher.architecture.parameters(teacher.classes()),
        bytes: teacher.bytes,
        latency_ms: latency::of_one_image(&teacher.network, teacher.recipe.crop),
    }
}

impl Student<'_> {
    fn cost(&self, context: &TrainContext) -> Result<NetworkCost, Halt> {
        let weights = self.learner.with(self.weights);
        let own = &self.learner.network;
        let network = Network::loaded(own.architecture(), own.outputs(), &weights, Device::Cpu)?;
        let folded = Folded::of(&network, Kind::Float, context.device);
        let bytes = weights
            .values()
            .map(|tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64);
        Ok(NetworkCost {
            model: None,
            architecture: own.architecture(),
            image_size: self.side,
            parameters: own.architecture().parameters(own.outputs().classes as u64),
            bytes: bytes.sum(),
            latency_ms: latency::of_one_image(&folded, self.side),
        })
    }
}
