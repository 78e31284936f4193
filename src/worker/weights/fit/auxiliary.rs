//! Heads beside the head that only the training of some networks used (Szegedy et al. 2015, section 5), by the names of torchvision.

/// Of Inception-v3, which timm's conversion has too, and of GoogLeNet.
const LAYERS: [&str; 3] = ["AuxLogits", "aux1", "aux2"];

/// Whether a tensor is in one of them.
pub fn is_auxiliary(name: &str) -> bool {
    name.split_once('.')
        .is_some_and(|(layer, _)| LAYERS.contains(&layer))
}
