//! How a map is cut into windows for attention within each (Liu et al. 2021, "Swin Transformer", section 3.2; as torchvision does it): pure
//! data, from which every form of a network computes.

use super::init::Init;

/// The windows of a map, side by side, row by row. The map is padded with zeros at its end until they cover it, and then turned round by the
/// shift, so that what leaves it at the start comes back at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    pub count: u64,
    /// For each place in each window the position of the map that it has; that after the last where it is in the padding.
    pub order: Vec<i64>,
    /// For each position of the map its place in `order`.
    pub back: Vec<i64>,
    /// Where the map is turned round: for each place in each window a number. Places of one window see each other only if theirs are equal,
    /// because otherwise they are not neighbours in the map.
    pub regions: Option<Vec<f32>>,
}

/// Multi-head self-attention within windows of a map (Liu et al. 2021, "Swin Transformer"): to each score is added a
/// learned bias for the distance of the two places and for the head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowAttention {
    pub features: u64,
    pub heads: u64,
    /// Height and width of a window.
    pub window: u64,
    /// By how many positions the map is turned round before it is cut, so that other neighbours meet; below `window`.
    pub shift: u64,
    pub init: Init,
    /// Whether the places of the distances in the table of biases are a tensor, as torchvision has them.
    pub has_positions: bool,
}

impl WindowAttention {
    /// What is added to the scores of places that do not see each other.
    pub const UNSEEN: f64 = -100.0;

    /// Places in a window.
    pub fn places(&self) -> u64 {
        self.window * self.window
    }

    /// Height and width of a map of this height and width with its padding.
    pub fn padded(&self, size: [u64; 2]) -> [u64; 2] {
        size.map(|length| length.next_multiple_of(self.window))
    }

    pub fn windows(&self, [height, width]: [u64; 2]) -> Windows {
        let padded = self.padded([height, width]);
        // A direction with a single window is not shifted.
        let shift = padded.map(|length| if length > self.window { self.shift } else { 0 });
        let (mut order, mut regions) = (Vec::new(), Vec::new());
        let mut back = vec![0; (height * width) as usize];
        for (rows, columns) in pairs(padded.map(|length| length / self.window)) {
            for (row, column) in pairs([self.window; 2]) {
                let place = [rows * self.window + row, columns * self.window + column];
                let [above, left] = std::array::from_fn(|axis| (place[axis] + shift[axis]) % padded[axis]);
                let is_inside = above < height && left < width;
                if is_inside {
                    back[(above * width + left) as usize] = order.len() as i64;
                }
                let position = if is_inside {
                    above * width + left
                } else {
                    height * width
                };
                order.push(position as i64);
                let [across, along]: [u64; 2] =
                    std::array::from_fn(|axis| self.band(place[axis], padded[axis], shift[axis]));
                regions.push((3 * across + along) as f32);
            }
        }
        Windows {
            count: order.len() as u64 / self.places(),
            order,
            back,
            regions: (shift != [0; 2]).then_some(regions),
        }
    }

    /// 0 before the last window, 1 in it, 2 in what has come back from the start.
    fn band(&self, place: u64, length: u64, shift: u64) -> u64 {
        u64::from(place + self.window >= length) + u64::from(shift > 0 && place + shift >= length)
    }
}

/// For each pair of places in a window of `window × window` the row of the table of biases that belongs to their distance, `[window⁴]`.
pub fn relative_positions(window: u64) -> Vec<i64> {
    let window = window as i64;
    let place = |number: i64| [number / window, number % window];
    let mut rows = Vec::new();
    for one in (0..window * window).map(place) {
        for other in (0..window * window).map(place) {
            let [down, right] = [0, 1].map(|axis| one[axis] - other[axis] + window - 1);
            rows.push(down * (2 * window - 1) + right);
        }
    }
    rows
}

fn pairs([first, second]: [u64; 2]) -> impl Iterator<Item = (u64, u64)> {
    (0..first).flat_map(move |one| (0..second).map(move |other| (one, other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windowed(window: u64, shift: u64) -> WindowAttention {
        WindowAttention {
            features: 8,
            heads: 2,
            window,
            shift,
            init: Init::Normal(0.02),
            has_positions: true,
        }
    }

    #[test]
    fn a_map_is_cut_into_windows_and_put_together_again() {
        for (size, window, shift) in [([4, 4], 2, 0), ([5, 3], 2, 1), ([7, 7], 3, 1), ([3, 9], 7, 3)] {
            let windows = windowed(window, shift).windows(size);
            let positions = size[0] * size[1];
            assert_eq!(windows.order.len() as u64, windows.count * window * window);
            for (position, place) in windows.back.iter().enumerate() {
                assert_eq!(windows.order[*place as usize], position as i64);
            }
            let padding = windows.order.iter().filter(|at| **at == positions as i64).count();
            assert_eq!(padding as u64 + positions, windows.order.len() as u64);
        }
        let plain = windowed(2, 0).windows([4, 4]);
        assert_eq!(plain.order[..8], [0, 1, 4, 5, 2, 3, 6, 7]);
        assert_eq!(plain.regions, None);
    }

    #[test]
    fn what_comes_back_on_the_other_side_is_another_region() {
        let windows = windowed(2, 1).windows([4, 4]);
        assert_eq!(windows.order[..4], [5, 6, 9, 10]);
        assert_eq!(windows.order[12..], [15, 12, 3, 0]);
        let regions = windows.regions.unwrap();
        assert_eq!(regions[..8], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0, 2.0]);
        assert_eq!(regions[12..], [4.0, 5.0, 7.0, 8.0]);
        // A window that sees the whole map is not shifted.
        assert_eq!(windowed(7, 3).windows([5, 7]).regions, None);
    }

    #[test]
    fn distances_are_numbered_row_by_row() {
        assert_eq!(
            relative_positions(2),
            [4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4]
        );
    }
}
