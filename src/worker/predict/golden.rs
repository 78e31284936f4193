//! A known image and what a network says of it: no form of a network is used before it has said the same.

use tch::{Device, Kind, Tensor};

use crate::{
    domain::architecture::{Architecture, Stage},
    worker::{
        autograd::without_gradients,
        nets::{
            Network,
            folded::{self, Folded},
            layers::{Mode, channels_last},
        },
    },
};

/// Side of the image in pixels where a network takes any: every kernel computes at some place of it, and in the form that it has for the images
/// that will come.
const SIDE: u32 = 64;

/// What is asked of a network and of its forms.
#[derive(Clone, Copy)]
pub(super) struct Question {
    side: i64,
    /// The stage whose output is compared; if none, the logits are.
    at: Option<Stage>,
}

impl Question {
    /// `side`: of the images that the network is used with, in pixels.
    ///
    /// On a CPU only convolutions are folded and packed; all other layers compute with the weights as they are. So nothing is compared after
    /// the last convolution, which in transformers comes first. On a GPU everything computes in another type and by other kernels.
    pub fn about(architecture: Architecture, device: Device, side: i64) -> Self {
        let whole = Self { side, at: None };
        let design = architecture.design();
        if device != Device::Cpu {
            return whole;
        }
        let last = design.last_convolution();
        if design.is_transformer() {
            // Its positions are for images of this size.
            let at = (last < design.last_stage()).then_some(last);
            return Self { at, ..whole };
        }
        match i64::from(SIDE) < side && architecture.check_size(SIDE).is_ok() {
            true => Self {
                side: SIDE.into(),
                at: None,
            },
            false => whole,
        }
    }

    fn image(&self) -> Tensor {
        golden_image(1, self.side)
    }
}

/// What the network itself computes for the image.
pub(super) struct Golden {
    question: Question,
    output: Tensor,
}

impl Golden {
    pub fn of(network: &Network, question: Question) -> Self {
        let image = question.image();
        let output = match question.at {
            Some(stage) => without_gradients(|| network.stages(&image, None, stage, Mode::Eval)),
            None => network.logits(&image),
        };
        Self { question, output }
    }

    /// Compares what a form of the network has computed for the image. If the network's own output is not finite, there is nothing to
    /// compare: every request will get an error.
    ///
    /// # Errors
    /// The results differ by more than is `allowed`, in a sentence for the operator.
    pub fn check(&self, computed: &Computed, allowed: f64) -> Result<(), String> {
        match folded::distance(&self.output, &computed.output) {
            Some(distance) if distance > allowed => Err(format!(
                "on {:?} the network computes wrong results: its outputs for a known image differ by {distance:.1e}",
                computed.device
            )),
            _ => Ok(()),
        }
    }

    /// What another form computes for the same image.
    pub fn asked(&self, form: &Folded) -> Computed {
        Computed::by(form, self.question)
    }
}

/// What a form of a network computes for the image.
pub(super) struct Computed {
    output: Tensor,
    device: Device,
}

impl Computed {
    pub fn by(form: &Folded, question: Question) -> Self {
        let image = question.image();
        Self {
            output: match question.at {
                Some(stage) => form.activations_at(stage, &image),
                None => form.as_for_its_size().logits(&image),
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    fn about(architecture: Architecture) -> Question {
        Question::about(architecture, Device::Cpu, 224)
    }

    #[test]
    fn transformers_are_asked_for_their_convolutions_and_others_about_a_small_image() {
        for architecture in Architecture::ALL {
            let question = about(architecture);
            let last = architecture.design().last_stage();
            match question.at {
                Some(stage) => assert!(stage < last && question.side == 224, "{architecture}"),
                None => assert!(
                    question.side == i64::from(SIDE) || architecture.check_size(SIDE).is_err(),
                    "{architecture}"
                ),
            }
        }
        let vit = Architecture::VitTinyPatch16;
        assert!(about(vit).at.is_some() && about(Architecture::Resnet18).at.is_none());
        let card = Question::about(vit, Device::Cuda(0), 224);
        assert!(card.at.is_none() && card.side == 224);
        assert_eq!(Question::about(Architecture::Resnet20, Device::Cpu, 32).side, 32);
    }

    #[test]
    fn a_form_of_other_weights_is_told_from_the_network_s_own() {
        for architecture in [Architecture::Resnet18, Architecture::VitTinyPatch16] {
            let drawn = |seed| Network::drawn(architecture, 4, seed, Device::Cpu);
            let form = |network: &Network| Folded::of(network, Kind::Float, Device::Cpu).packed_for(1, 224);
            let golden = Golden::of(&drawn(1), about(architecture));
            let own = golden.asked(&form(&drawn(1)));
            assert_eq!(golden.check(&own, 1e-3), Ok(()), "{architecture}");
            let other = golden.asked(&form(&drawn(2)));
            assert!(golden.check(&other, 1e-3).is_err(), "{architecture}");
        }
    }
}
