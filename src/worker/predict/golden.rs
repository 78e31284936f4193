//! A known image and what a network says of it: no form of a network is used before it has said the same.

use tch::{Device, Kind, Tensor};

use crate::worker::nets::{
    Network,
    folded::{self, Folded},
    layers::channels_last,
};

/// What the network itself computes for the image.
pub(super) struct Golden(Tensor);

impl Golden {
    /// `side`: of the image, in pixels.
    pub fn of(network: &Network, side: i64) -> Self {
        Self(network.logits(&golden_image(1, side)))
    }

    /// Compares what a form of the network has computed for the image. If the network's own output is not finite, there is nothing to
    /// compare: every request will get an error.
    ///
    /// # Errors
    /// The results differ by more than is `allowed`, in a sentence for the operator.
    pub fn check(&self, computed: &Computed, allowed: f64) -> Result<(), String> {
        match folded::distance(&self.0, &computed.logits) {
            Some(distance) if distance > allowed => Err(format!(
                "on {:?} the network computes wrong results: its outputs for a known image differ by {distance:.1e}",
                computed.device
            )),
            _ => Ok(()),
        }
    }
}

/// What a form of a network computes for the image.
pub(super) struct Computed {
    logits: Tensor,
    device: Device,
}

impl Computed {
    pub fn by(form: &Folded, side: i64) -> Self {
        Self {
            logits: form.logits(&golden_image(1, side)),
            device: form.device(),
        }
    }
}

/// An image `[count, 3, side, side]` that is always the same, with values like those of normalised images.
pub(super) fn golden_image(count: i64, side: i64) -> Tensor {
    let places = Tensor::arange(count * 3 * side * side, (Kind::Float, Device::Cpu));
    let waves = (&places * 0.37).sin() + (&places * 0.011).cos();
    channels_last(&waves.view([count, 3, side, side]))
}
