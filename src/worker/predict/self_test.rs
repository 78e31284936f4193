//! The self-test before the first reply: the device must compute the known logits of a known network for a known image.
//!
//! A GPU that was reset, a library that does not match it, a CPU without the instructions that it claims: whatever is wrong shows here and
//! not in a reply.

use tch::Device;

use super::{forms::packed, golden::golden_image};
use crate::{domain::architecture::Architecture, worker::nets::Network};

const SEED: u64 = 7;
const SIDE: i64 = 32;
/// Logits of the ResNet-20 with weights drawn from [`SEED`], for [`golden_image`] of [`SIDE`] pixels, as computed by PyTorch.
const EXPECTED: [f64; 4] = [1.139109, 0.524120, -10.959131, -6.423995];

/// # Errors
/// A sentence for the operator.
pub(super) fn run(device: Device) -> Result<(), String> {
    let network = Network::drawn(Architecture::Resnet20, EXPECTED.len(), SEED, Device::Cpu);
    let folded = packed(&network, device, 1, SIDE)?;
    let logits = folded.logits(&golden_image(1, SIDE)).to_device(Device::Cpu);
    let found = [0, 1, 2, 3].map(|class| logits.double_value(&[0, class]));
    // 16-bit numbers have three digits, 32-bit numbers seven, of which a few are lost on the way.
    let allowed = if device.is_cuda() { 0.5 } else { 1e-3 };
    let close = |(found, expected): (&f64, &f64)| (found - expected).abs() <= allowed;
    if !found.iter().zip(&EXPECTED).all(close) {
        return Err(format!(
            "it computes {found:?} for a known image instead of {EXPECTED:?}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_passes() {
        assert_eq!(run(Device::Cpu), Ok(()));
    }

    #[test]
    fn the_expected_answer_tells_networks_apart() {
        let other = Network::drawn(Architecture::Resnet20, EXPECTED.len(), SEED + 1, Device::Cpu);
        let logits = other.logits(&golden_image(1, SIDE));
        let apart = |class: usize| (logits.double_value(&[0, class as i64]) - EXPECTED[class]).abs();
        assert!((0..4).any(|class| apart(class) > 0.1));
    }
}
