//! The last step of preprocessing: from the bytes of cropped images to the network's input.
//!
//! Training, evaluation and prediction all end here, after `pixels.rs`, so that a model always sees what it was trained on.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use crate::domain::models::preprocessing::Preprocessing;

/// From images `[N, H, W, 3]`, u8, red, green, blue, to `[N, 3, H, W]`, 32-bit floats on the device, scaled to 0–1 and then `(x - mean) /
/// std` per channel; in channels-last memory. The bytes are copied to the device, not the floats.
pub fn normalised(images: &Tensor, preprocessing: &Preprocessing, device: Device) -> Tensor {
    let channels = |values: &[f32; 3]| on_device(*values, device);
    let mut pixels = images.to_device(device).to_kind(Kind::Float);
    let _ = pixels.g_div_scalar_(255.0);
    let _ = pixels.g_sub_(&channels(&preprocessing.mean));
    let _ = pixels.g_div_(&channels(&preprocessing.std));
    pixels.permute([0, 3, 1, 2])
}

/// Numbers on a device. Sending them to a card takes a wait for it, so there they are kept; few preprocessings meet in one process.
fn on_device(values: [f32; 3], device: Device) -> Tensor {
    type Kept = (Device, [u32; 3], Tensor);
    thread_local!(static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) });
    let sent = || Tensor::from_slice(&values).to_device(device);
    if !device.is_cuda() {
        return sent();
    }
    let bits = values.map(f32::to_bits);
    KEPT.with_borrow_mut(|kept| {
        let known = kept.iter().find(|(on, of, _)| (*on, *of) == (device, bits));
        if let Some((_, _, known)) = known {
            return known.shallow_clone();
        }
        let new = sent();
        kept.push((device, bits, new.shallow_clone()));
        new
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_normalised_channels() {
        let preprocessing = Preprocessing::for_size(32);
        let bytes = Tensor::from_slice(&[0u8, 128, 255, 10, 20, 30]).view([1, 1, 2, 3]);
        let pixels = normalised(&bytes, &preprocessing, Device::Cpu);
        assert_eq!(pixels.size(), [1, 3, 1, 2]);
        let expected = |byte: f64, channel: usize| {
            (byte / 255.0 - f64::from(preprocessing.mean[channel])) / f64::from(preprocessing.std[channel])
        };
        for (index, byte) in [([0, 0, 0, 0], 0.0), ([0, 1, 0, 0], 128.0), ([0, 2, 0, 1], 30.0)] {
            let got = pixels.double_value(&index);
            assert!(
                (got - expected(byte, index[1] as usize)).abs() < 1e-6,
                "{index:?}: {got}"
            );
        }
        assert_eq!(pixels.stride(), [6, 1, 6, 3], "channels are innermost");
    }
}
