//! From the pixels of images to the model's outputs, as many at a time as fit.

use tch::{Device, Kind, Tensor};

use crate::worker::autograd::without_gradients;
use crate::{
    domain::{
        jobs::predictions::RowError,
        models::{model::ModelCard, preprocessing::Preprocessing},
    },
    protocol::ManifestImage,
    worker::{
        fault::{self, TorchFault},
        nets::{folded::Folded, input},
        train::input::portion::MicroBatches,
    },
};

/// An image on its way to its row.
pub struct Item {
    pub image: ManifestImage,
    pub state: ItemState,
}

/// How far it has been processed.
pub enum ItemState {
    /// `crop` rows of `crop` pixels, red, green, blue.
    Pixels(Vec<u8>),
    /// One number per class of the model.
    Logits(Vec<f32>),
    Unreadable(RowError),
}

pub struct Classifier {
    network: Folded,
    recipe: Preprocessing,
    device: Device,
    micro_batches: MicroBatches,
}

impl Classifier {
    /// On a single core larger batches are not faster.
    const MAX_LANE_BATCH: u32 = 16;

    pub fn new(network: Folded, card: &ModelCard, place: Place, batch_size: u32) -> Self {
        let most = match place.in_lanes {
            true => batch_size.min(Self::MAX_LANE_BATCH),
            false => batch_size,
        };
        Self {
            network,
            recipe: card.preprocessing.clone(),
            device: place.device,
            micro_batches: MicroBatches::new(most as usize, 1),
        }
    }

    /// The same for another thread; the weights are shared.
    pub fn share(&self) -> Self {
        Self {
            network: self.network.share(),
            recipe: self.recipe.clone(),
            device: self.device,
            micro_batches: self.micro_batches,
        }
    }

    /// Largest number of images in a forward pass.
    pub fn limit(&self) -> usize {
        self.micro_batches.limit()
    }

    /// Computes logits from pixels. A batch that does not fit into memory is halved.
    ///
    /// # Errors
    /// Not enough memory for one image, or another libtorch error.
    pub fn classify(&mut self, items: &mut [Item]) -> Result<(), TorchFault> {
        let mut waiting: Vec<&mut ItemState> = items
            .iter_mut()
            .map(|item| &mut item.state)
            .filter(|state| matches!(state, ItemState::Pixels(_)))
            .collect();
        let (network, recipe, device) = (&self.network, &self.recipe, self.device);
        let parts = self.micro_batches.each(waiting.len(), |part| {
            let pixels = waiting[part].iter().filter_map(|state| match &**state {
                ItemState::Pixels(pixels) => Some(pixels.as_slice()),
                _ => None,
            });
            let pixels: Vec<&[u8]> = pixels.collect();
            fault::caught(|| logits(network, recipe, device, &pixels))
        })?;
        for (state, logits) in waiting.iter_mut().zip(parts.into_iter().flatten()) {
            **state = ItemState::Logits(logits);
        }
        Ok(())
    }
}

/// Panics if libtorch fails.
fn logits(network: &Folded, recipe: &Preprocessing, device: Device, pixels: &[&[u8]]) -> Vec<Vec<f32>> {
    let side = i64::from(recipe.crop);
    let shape = [pixels.len() as i64, side, side, 3];
    let images = Tensor::from_data_size(&pixels.concat(), &shape, Kind::Uint8);
    let logits = without_gradients(|| network.logits(&input::normalised(&images, recipe, device)));
    let logits = logits.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut values = vec![0f32; logits.numel()];
    let count = values.len();
    logits.copy_data(&mut values, count);
    values
        .chunks(count / pixels.len().max(1))
        .map(<[f32]>::to_vec)
        .collect()
}

/// Where the network computes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub device: Device,
    /// In the lanes, in parallel; otherwise in full batches one after another while the lanes prepare pixels.
    pub in_lanes: bool,
}

impl Place {
    pub fn of(device: Device) -> Self {
        Self {
            device,
            in_lanes: !device.is_cuda(),
        }
    }
}
