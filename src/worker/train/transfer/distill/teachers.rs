//! The models that a training learns from.

use tch::{Device, Kind, Tensor};

use crate::worker::autograd::without_gradients;
use crate::{
    domain::{
        architecture::Architecture, id::ModelId, jobs::job::FailureCode, models::preprocessing::Preprocessing,
    },
    protocol::{TeacherFiles, TrainRun},
    worker::{
        files::bundle,
        nets::{Network, folded::Folded, input, vectors},
        train::{input::batch::Lesson, progress::halt::Halt},
    },
};

/// All teachers of a training.
pub struct Teachers {
    all: Vec<Teacher>,
    temperature: f64,
    with_features: bool,
}

/// One of them.
pub struct Teacher {
    pub model: ModelId,
    pub architecture: Architecture,
    pub recipe: Preprocessing,
    pub network: Folded,
    /// Size of its weights.
    pub bytes: u64,
    /// For each class of the training its place among the teacher's.
    order: Tensor,
}

impl Teachers {
    /// None where the run has none.
    ///
    /// # Errors
    /// `invalid_data` if one has other classes.
    pub fn load(run: &TrainRun, device: Device) -> Result<Option<Self>, Halt> {
        let Some(distill) = &run.spec.distill else {
            return Ok(None);
        };
        let batch = i64::from(run.spec.batch_size);
        let classes = &run.common.dataset.classes;
        let all = run.teachers.iter();
        let all = all.map(|files| Teacher::load(files, classes, batch, device));
        Ok(Some(Self {
            all: all.collect::<Result<_, _>>()?,
            temperature: distill.temperature,
            with_features: distill.features.is_some(),
        }))
    }

    pub fn each(&self) -> &[Teacher] {
        &self.all
    }

    /// Length of the feature vectors of the first.
    pub fn features(&self) -> Option<u64> {
        let first = self.all.first()?;
        Some(first.architecture.design().features())
    }

    /// What they say of images `[N, H, W, 3]` on a scale of 0 to 255, cropped for the student: each sees them resized to its own size. The
    /// images stay as they are.
    pub fn lesson(&self, images: &Tensor) -> Option<Lesson> {
        without_gradients(|| {
            let mut sum: Option<Tensor> = None;
            let mut features = None;
            for teacher in &self.all {
                let seen = teacher.network.activations(&teacher.seen(images));
                let own = teacher.network.features(&seen);
                let logits = teacher.network.head(&own).index_select(1, &teacher.order);
                let logits = logits.to_kind(Kind::Double) / self.temperature;
                let probabilities = logits.softmax(1, Kind::Double);
                sum = Some(match sum {
                    None => probabilities,
                    Some(sum) => sum + probabilities,
                });
                if self.with_features && features.is_none() {
                    features = Some(vectors(&own));
                }
            }
            Some(Lesson {
                probabilities: sum? / self.all.len() as f64,
                features,
            })
        })
    }
}

impl Teacher {
    fn load(teacher: &TeacherFiles, classes: &[String], batch: i64, device: Device) -> Result<Self, Halt> {
        let card = bundle::read_card(&teacher.files)?;
        let weights = bundle::read_weights(&teacher.files)?;
        let place = |name: &String| card.classes.iter().position(|known| known == name);
        let order: Option<Vec<i64>> = classes
            .iter()
            .map(|name| place(name).map(|place| place as i64))
            .collect();
        let order = order
            .filter(|order| order.len() == card.classes.len())
            .ok_or_else(|| {
                let message = format!(
                    "the classes of the teacher {} are not those of the dataset",
                    teacher.model
                );
                Halt::failed(FailureCode::InvalidData, message)
            })?;
        let network = Network::loaded(card.architecture, card.outputs(), &weights, Device::Cpu)?;
        let bytes = weights
            .values()
            .map(|tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64);
        Ok(Self {
            model: teacher.model,
            architecture: card.architecture,
            network: Folded::of(&network, Kind::Float, device)
                .packed_for(batch, i64::from(card.preprocessing.crop)),
            recipe: card.preprocessing,
            bytes: bytes.sum(),
            order: Tensor::from_slice(&order).to_device(device),
        })
    }

    pub fn classes(&self) -> u64 {
        self.order.numel() as u64
    }

    /// Images as it was trained on: `[N, 3, H, W]`, normalised.
    fn seen(&self, images: &Tensor) -> Tensor {
        let side = i64::from(self.recipe.crop);
        let planes = images.permute([0, 3, 1, 2]).to_kind(Kind::Float);
        let resized = match planes.size()[2] == side {
            // `normalised` works in place.
            true => planes.copy(),
            false => planes.internal_upsample_bilinear2d_aa([side, side], false, None, None),
        };
        let device = resized.device();
        input::normalised(&resized.permute([0, 2, 3, 1]), &self.recipe, device)
    }
}
