//! Whether a device computes: a kernel that runs, and its result.

use anyhow::ensure;
use tch::{Kind, Tensor};

use crate::worker::fault;

/// Computes something small on a device.
///
/// # Errors
/// It is not there, fails, or computes something else than the processor.
pub fn probe(name: &str) -> anyhow::Result<()> {
    let device = super::parse(name).map_err(anyhow::Error::msg)?;
    let product = |device| {
        let matrix = (Tensor::arange(64 * 64, (Kind::Float, device)).view([64, 64]) * 0.001).sin();
        matrix.matmul(&matrix).to_device(tch::Device::Cpu)
    };
    let (found, expected) = fault::caught(|| (product(device), product(tch::Device::Cpu)))?;
    let off = (found - expected).abs().max().double_value(&[]);
    ensure!(off < 0.1, "{name} computes something else than the processor");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_computes_and_a_device_that_is_not_there_does_not() {
        probe("cpu").unwrap();
        let fault = probe("cuda:250").unwrap_err();
        assert!(
            fault.to_string().contains("there is no device `cuda:250`"),
            "{fault}"
        );
    }
}
