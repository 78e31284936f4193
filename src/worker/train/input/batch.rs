//! One batch on its way into the trained part of the network.

use tch::Tensor;

use super::mixing::Labels;

/// Images on the device, and what is known of them.
pub struct FeedBatch {
    /// See [`boundary`](crate::worker::train::learner::Learner::boundary).
    pub boundary: Tensor,
    pub labels: Labels,
    pub images: u64,
    /// What the teachers say, if there are any; only of images that are trained on.
    pub lesson: Option<Lesson>,
    /// As many images of another dataset, whose labels are not used, where such images go along; or the same images in other views.
    pub unlabelled: Option<Box<FeedBatch>>,
}

/// What the teachers say of images.
pub struct Lesson {
    /// Mean of their probabilities at the temperature of the training, `[N, classes]`, 64-bit floats.
    pub probabilities: Tensor,
    /// The features that the first of them sees, `[N, d]`, where the student learns these too.
    pub features: Option<Tensor>,
}

impl FeedBatch {
    /// Labelled images alone.
    pub fn new(boundary: Tensor, labels: Labels) -> Self {
        Self {
            images: boundary.size()[0] as u64,
            boundary,
            labels,
            lesson: None,
            unlabelled: None,
        }
    }

    /// Some of the images, and as many of those that go along.
    pub fn narrow(&self, start: i64, length: i64) -> Self {
        let rows = |tensor: &Tensor| tensor.narrow(0, start, length);
        Self {
            boundary: rows(&self.boundary),
            labels: self.labels.narrow(start, length),
            images: length as u64,
            lesson: self.lesson.as_ref().map(|lesson| Lesson {
                probabilities: rows(&lesson.probabilities),
                features: lesson.features.as_ref().map(rows),
            }),
            unlabelled: self
                .unlabelled
                .as_ref()
                .map(|unlabelled| Box::new(unlabelled.narrow(start, length))),
        }
    }
}
