//! Randomness as a pure function: a draw depends on (seed, stream, epoch, index) and on nothing that ran before.
//!
//! That is what lets a resumed run see the same shuffle and the same flips as an uninterrupted one. The generator is SplitMix64 (Steele,
//! Lea, Flood 2014, "Fast splittable pseudorandom number generators"); its outputs are part of our guarantees, so the implementation is our
//! own and must not change.

/// The purpose of a draw, so that two uses of one seed never share numbers.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    Split = 1,
    Shuffle = 2,
    Augment = 3,
    Initialise = 4,
    SampleDataset = 5,
    Dropout = 8,
    BalancedSampler = 9,
    /// Which images of a batch are mixed, and in what proportions.
    Mix = 20,
    /// The order of the images of a target domain.
    Target = 21,
    /// Of cross-validation.
    Folds = 40,
}

/// A sequence of draws that starts at one point of (seed, stream, epoch, index).
#[derive(Clone, Debug)]
pub struct Draws {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draws {
    pub fn at(seed: u64, stream: Stream, epoch: u64, index: u64) -> Self {
        let mut state = mix(seed.wrapping_add(GOLDEN));
        for part in [stream as u64, epoch, index] {
            state = mix(state ^ mix(part.wrapping_add(GOLDEN)));
        }
        Self { state }
    }

    /// An independent sequence, so that what one use draws from it changes nothing for the next (the paper's `split`).
    pub fn fork(&mut self) -> Self {
        Self {
            state: mix(self.next_u64()),
        }
    }

    /// Uniform over all 64-bit numbers.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Uniform in [0, 1), with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..bound`; `bound` must not be 0. The bias is below 2⁻³² for any bound that fits in memory.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Fisher–Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_point_gives_the_same_draws_and_another_point_others() {
        let take = |seed, epoch, index| {
            let mut draws = Draws::at(seed, Stream::Shuffle, epoch, index);
            [draws.next_u64(), draws.next_u64()]
        };
        assert_eq!(take(1, 2, 3), take(1, 2, 3));
        assert_ne!(take(1, 2, 3), take(1, 3, 2));
        assert_ne!(take(1, 2, 3), take(2, 2, 3));
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_moves_most() {
        let mut items: Vec<usize> = (0..1000).collect();
        Draws::at(7, Stream::Shuffle, 0, 0).shuffle(&mut items);
        let unmoved = items
            .iter()
            .enumerate()
            .filter(|(index, item)| index == *item)
            .count();
        assert!(unmoved < 20);
        items.sort_unstable();
        assert!(items.iter().enumerate().all(|(index, item)| index == *item));
    }

    #[test]
    fn units_fill_the_interval_evenly() {
        let mut draws = Draws::at(0, Stream::Augment, 0, 0);
        let mean = (0..10_000).map(|_| draws.unit()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
