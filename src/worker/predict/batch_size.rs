//! The batch size of predictions.

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
