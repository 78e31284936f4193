//! The batch size of predictions.

use tch::Device;

/// Each lane holds the activations of a batch.
pub const MAX_LANES: usize = 8;

/// Limits on the number of images in a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// A CPU computes four images at once nearly as fast as more, and small batches keep latency low.
    pub usual: usize,
    /// When many are waiting, one more batch makes no difference to them, and a few per cent of throughput count.
    pub most: usize,
}

impl BatchSize {
    pub fn up_to(most: usize) -> Self {
        Self { usual: most, most }
    }

    /// While `waiting` images are ready, for this many lanes.
    pub fn now(self, waiting: usize, lanes: usize) -> usize {
        match waiting >= lanes * self.most {
            true => self.most,
            false => self.usual,
        }
    }
}

/// The size of the batch that is computed for one of `count` images. cuDNN chooses how to compute for each size anew: on a card there are few
/// sizes, and all of them are warm.
pub fn padded_size(count: usize, device: Device) -> usize {
    match device.is_cuda() {
        true => count.next_power_of_two(),
        false => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_card_pads_and_only_to_powers_of_two() {
        let sizes = |device| [1, 2, 3, 5, 32].map(|count| padded_size(count, device));
        assert_eq!(sizes(Device::Cpu), [1, 2, 3, 5, 32]);
        assert_eq!(sizes(Device::Cuda(0)), [1, 2, 4, 8, 32]);
    }
}
