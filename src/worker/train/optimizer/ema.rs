//! An exponential moving average of the weights: a second network that follows the trained one (Polyak and Juditsky 1992; as
//! torch.optim.swa_utils.AveragedModel with BatchNorm's statistics copied). Used by validation and for the model.

use tch::{Device, Tensor};

use super::together;
use crate::worker::autograd::without_gradients;
use crate::{
    domain::spec::Stage,
    worker::{
        files::state::StateDict,
        nets::{LoadFault, Network},
    },
};

/// The moving average.
pub struct Average {
    pub network: Network,
    decay: f64,
    /// The number of steps over which the decay grows to 1, where it does.
    grows_over: Option<u64>,
}

impl Average {
    /// Starts with the network's current weights.
    ///
    /// # Errors
    /// None that a network's own weights could cause.
    pub fn of(network: &Network, decay: f64) -> Result<Self, LoadFault> {
        let state = network.state();
        let outputs = network.outputs();
        let device = state.values().next().map_or(Device::Cpu, Tensor::device);
        let copy = without_gradients(|| Network::loaded(network.architecture(), outputs, state, device))?;
        Ok(Self {
            network: copy.computing_in(network.kind()),
            decay,
            grows_over: None,
        })
    }

    /// The same for a teacher: the decay grows along half a cosine to 1 over this many steps (Caron et al. 2021, section 3.1).
    pub fn growing(self, steps: u64) -> Self {
        Self {
            grows_over: Some(steps.max(1)),
            ..self
        }
    }

    /// The decay after this many steps. By default it starts small, so that the initial weights are soon forgotten: min(decay,
    /// (1 + n) / (10 + n)) as in TensorFlow's ExponentialMovingAverage.
    pub fn decay(&self, steps: u64) -> f64 {
        let steps = steps as f64;
        match self.grows_over {
            None => self.decay.min((1.0 + steps) / (10.0 + steps)),
            Some(all) => {
                let progress = (steps / all as f64).min(1.0);
                1.0 - (1.0 - self.decay) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
        }
    }

    /// Updates the average after a step of the network, which has `frozen` stages and had taken `steps` steps before.
    pub fn follow(&mut self, network: &Network, frozen: Option<Stage>, steps: u64) {
        let decay = self.decay(steps);
        without_gradients(|| {
            let mut learning = Vec::new();
            for (name, average) in self.network.state() {
                let (Some(now), true) = (network.state().get(name), network.changes(name, frozen)) else {
                    continue;
                };
                match network.learns(name) {
                    true => learning.push((average, now)),
                    false => average.shallow_clone().copy_(now),
                }
            }
            if learning
                .first()
                .is_some_and(|(average, _)| together::is_for(average))
            {
                return together::lerp(&learning, 1.0 - decay);
            }
            for (average, now) in learning {
                let _ = average.shallow_clone().lerp_(now, 1.0 - decay);
            }
        });
    }

    /// Restores tensors of a checkpoint.
    ///
    /// # Errors
    /// The name of a tensor that does not match, or is not one of the network's.
    pub fn restore(&mut self, state: &StateDict) -> Result<(), String> {
        for (name, saved) in state {
            let own = self.network.state().get(name);
            match own.filter(|own| own.size() == saved.size() && own.kind() == saved.kind()) {
                Some(own) => own.shallow_clone().copy_(saved),
                None => return Err(name.clone()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::Architecture;

    #[test]
    fn weights_are_averaged_and_statistics_copied() {
        let network = Network::drawn(Architecture::Resnet18, 3, 1, Device::Cpu);
        let mut average = Average::of(&network, 0.9).unwrap();
        let first = |network: &Network, name: &str| network.state()[name].flatten(0, -1).double_value(&[0]);
        let set = |name: &str, value: f64| {
            let _ = without_gradients(|| network.state()[name].shallow_clone().fill_(value));
        };
        let mut expected = first(&network, "fc.bias");
        for (step, value) in [3.0, -1.0, 2.0].into_iter().enumerate() {
            set("fc.bias", value);
            set("bn1.bias", value);
            set("bn1.running_mean", value);
            set("layer1.0.bn1.running_mean", value);
            average.follow(&network, Some(Stage::STEM), step as u64);
            let decay = (1.0 + step as f64) / (10.0 + step as f64);
            expected = expected * decay + value * (1.0 - decay);
            assert!((first(&average.network, "fc.bias") - expected).abs() < 1e-6);
            assert_eq!(first(&average.network, "layer1.0.bn1.running_mean"), value);
        }
        // Frozen: not even read.
        assert_eq!(first(&average.network, "bn1.bias"), 0.0);
        assert_eq!(first(&average.network, "bn1.running_mean"), 0.0);
        set("fc.bias", 0.0);
        average.follow(&network, Some(Stage::STEM), 1_000_000);
        assert!(
            (first(&average.network, "fc.bias") - expected * 0.9).abs() < 1e-6,
            "at most the configured decay"
        );
    }

    #[test]
    fn the_decay_of_a_teacher_grows_to_one() {
        let network = Network::drawn(Architecture::Resnet20, 3, 1, Device::Cpu);
        let average = Average::of(&network, 0.9).unwrap().growing(100);
        let decays = [0, 50, 100, 200].map(|steps| average.decay(steps));
        for (decay, expected) in decays.into_iter().zip([0.9, 0.95, 1.0, 1.0]) {
            assert!((decay - expected).abs() < 1e-12, "{decay}");
        }
    }
}
