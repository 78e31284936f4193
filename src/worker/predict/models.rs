//! The networks that are loaded: each once, the longest unused leaving when memory is short.

use super::lru::Lru;
use crate::{
    domain::model::ModelCard,
    protocol::frames::ModelFiles,
    worker::{bundle, nets::Network, state::StateDict},
};

pub(super) struct Models {
    device: tch::Device,
    /// By the SHA-256 of the weights.
    networks: Lru<String, Network>,
}

impl Models {
    /// `budget` in bytes of weights.
    pub fn new(device: tch::Device, budget: u64) -> Self {
        Self {
            device,
            networks: Lru::new(budget),
        }
    }

    /// The network of a model, loaded where it is not. What could not be loaded is not remembered: the next request tries again.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn network(&mut self, files: &ModelFiles, card: &ModelCard) -> Result<&Network, String> {
        // Asked twice because of the borrow checker: a loan that may be returned early lasts for the whole function.
        if self.networks.get(&files.sha256).is_none() {
            let network = self.load(files, card)?;
            let bytes = weight_of(network.state());
            self.networks.insert(files.sha256.clone(), network, bytes);
        }
        let network = self.networks.get(&files.sha256);
        let network = network.filter(|network| network.architecture() == card.architecture);
        network.ok_or_else(|| format!("the model's weights are not those of a {}", card.architecture))
    }

    /// Forgets everything that is loaded, so that the device has its memory back.
    pub fn clear(&mut self) {
        self.networks.make_room(u64::MAX);
    }

    fn load(&mut self, files: &ModelFiles, card: &ModelCard) -> Result<Network, String> {
        let weights =
            bundle::read_weights(&files.weights, &files.sha256).map_err(|fault| fault.to_string())?;
        self.networks.make_room(weight_of(&weights));
        Network::loaded(card.architecture, card.classes.len(), &weights, self.device)
            .map_err(|fault| fault.to_string())
    }
}

fn weight_of(state: &StateDict) -> u64 {
    let bytes = |tensor: &tch::Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    state.values().map(|tensor| bytes(tensor) as u64).sum()
}
