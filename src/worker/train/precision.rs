//! Training with 16-bit convolutions (Micikevicius et al. 2018): the type that a run computes in, and the loss scaling that preserves small
//! gradients.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::{
    domain::spec::Precision,
    worker::device::{self, settings},
};

/// Sets what this process computes 32-bit floats in, and returns the type that convolutions compute in.
pub fn set(precision: Precision, device: Device) -> Kind {
    settings::allow_tf32(precision == Precision::Tf32);
    kind(precision, device)
}

fn kind(precision: Precision, device: Device) -> Kind {
    match precision {
        Precision::Fp32 | Precision::Tf32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp16 => Kind::Half,
        Precision::Auto => best_of(device::compute_capability(device)),
    }
}

/// For a GPU with this compute capability; for a CPU if none.
fn best_of(compute_capability: Option<(u32, u32)>) -> Kind {
    match compute_capability {
        Some((8.., _)) => Kind::BFloat16,
        Some((7, _)) => Kind::Half,
        _ => Kind::Float,
    }
}

/// The name in specs of what is computed in.
pub fn name(precision: Precision, kind: Kind, device: Device) -> &'static str {
    match kind {
        Kind::Float if precision == Precision::Tf32 && device.is_cuda() => "tf32",
        Kind::BFloat16 => "bf16",
        Kind::Half => "fp16",
        _ => "fp32",
    }
}

/// The factor by which the loss is multiplied before gradients are computed. fp16 has no numbers below 6e-8: smaller gradients survive
/// thanks to it. If gradients overflow instead, the step is skipped and the factor halved; after enough good steps it is doubled (as
/// torch.amp.GradScaler, with its numbers).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    factor: f64,
    /// Since the factor last changed.
    good_steps: u32,
}

impl LossScale {
    const START: f64 = 65536.0;
    const GROWTH_INTERVAL: u32 = 2000;
    /// Gradients that overflow even with this are not a matter of scale.
    const SMALLEST: f64 = 1.0 / 65536.0;

    /// None where the type has the range of 32-bit floats.
    pub fn of(kind: Kind) -> Option<Self> {
        let start = LossScale {
            factor: Self::START,
            good_steps: 0,
        };
        (kind == Kind::Half).then_some(start)
    }

    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Records a step whose gradients were finite or not. False if no smaller factor is worth trying.
    pub fn follow(&mut self, finite: bool) -> bool {
        if !finite {
            self.factor /= 2.0;
            self.good_steps = 0;
            return self.factor >= Self::SMALLEST;
        }
        self.good_steps += 1;
        if self.good_steps == Self::GROWTH_INTERVAL {
            self.factor *= 2.0;
            self.good_steps = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_means_what_the_device_is_good_at() {
        assert_eq!(kind(Precision::Auto, Device::Cpu), Kind::Float);
        for (capability, best) in [
            ((6, 1), Kind::Float),
            ((7, 5), Kind::Half),
            ((8, 0), Kind::BFloat16),
            ((9, 0), Kind::BFloat16),
            ((12, 0), Kind::BFloat16),
        ] {
            assert_eq!(best_of(Some(capability)), best, "{capability:?}");
        }
        assert_eq!(kind(Precision::Bf16, Device::Cpu), Kind::BFloat16);
    }

    #[test]
    fn the_scale_is_halved_at_once_and_doubled_after_many_good_steps() {
        assert_eq!(LossScale::of(Kind::BFloat16), None);
        let mut scale = LossScale::of(Kind::Half).unwrap();
        assert!(scale.follow(false));
        assert_eq!(scale.factor(), 32768.0);
        for _ in 0..LossScale::GROWTH_INTERVAL - 1 {
            assert!(scale.follow(true));
        }
        assert_eq!(scale.factor(), 32768.0);
        assert!(scale.follow(true));
        assert_eq!(scale.factor(), 65536.0);
        let tries = (1..).find(|_| !scale.follow(false));
        assert_eq!(tries, Some(33));
    }
}
