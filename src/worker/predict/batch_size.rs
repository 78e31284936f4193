//! How many images go through a network together.

/// Each lane holds the activations of a batch.
pub const MAX_LANES: usize = 8;

/// How many images go through a network at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// A processor computes four images at once nearly as fast as more, and whoever waits waits less long.
    pub usual: usize,
    /// Where so many wait that one more batch makes no difference to them, those few per cent count.
    pub most: usize,
}

impl BatchSize {
    pub fn up_to(most: usize) -> Self {
        Self { usual: most, most }
    }

    /// While `waiting` images are ready, for as many lanes.
    pub fn now(self, waiting: usize, lanes: usize) -> usize {
        match waiting >= lanes * self.most {
            true => self.most,
            false => self.usual,
        }
    }
}
