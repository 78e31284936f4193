//! From the values of a grey image to its shades: rescaled to what was measured, then through the window (PS3.3, C.11.1 and C.11.2). And
//! palettes (C.7.6.3.1.5).

use super::{
    elements::{Elements, Tag},
    storage::Storage,
};

const WINDOW_CENTER: Tag = (0x0028, 0x1050);
const WINDOW_WIDTH: Tag = (0x0028, 0x1051);
const INTERCEPT: Tag = (0x0028, 0x1052);
const SLOPE: Tag = (0x0028, 0x1053);
const FUNCTION: Tag = (0x0028, 0x1056);
const PADDING: Tag = (0x0028, 0x0120);

/// The shade of each value.
pub struct Shades {
    slope: f64,
    intercept: f64,
    curve: Curve,
}

enum Curve {
    /// Black up to the first value, white from the second on.
    Line(f64, f64),
    Sigmoid {
        center: f64,
        width: f64,
    },
}

impl Shades {
    /// `values` are those of the image, for one without a window.
    pub fn of(elements: &Elements<'_>, storage: &Storage, values: &[i32]) -> Self {
        let slope = elements
            .decimal(SLOPE)
            .filter(|slope| *slope != 0.0)
            .unwrap_or(1.0);
        let intercept = elements.decimal(INTERCEPT).unwrap_or(0.0);
        let window = elements
            .decimal(WINDOW_CENTER)
            .zip(elements.decimal(WINDOW_WIDTH).filter(|width| *width > 0.0));
        let curve = match (window, elements.text(FUNCTION)) {
            (Some((center, width)), Some("SIGMOID")) => Curve::Sigmoid { center, width },
            (Some((center, width)), Some("LINEAR_EXACT")) => {
                Curve::Line(center - width / 2.0, center + width / 2.0)
            }
            (Some((center, width)), _) => {
                let half = (width - 1.0).max(0.0) / 2.0;
                Curve::Line(center - 0.5 - half, center - 0.5 + half)
            }
            // 8 bits are meant to be shown as they are.
            (None, _) if storage.bytes == 1 && !storage.signed => {
                let ends = [intercept, 255.0 * slope + intercept];
                Curve::Line(ends[0].min(ends[1]), ends[0].max(ends[1]))
            }
            (None, _) => {
                // What is outside the field of the camera is not part of the image.
                let padding = elements
                    .short(PADDING)
                    .map(|value| storage.with_sign(value.into()));
                let seen = || values.iter().copied().filter(|value| Some(*value) != padding);
                let ends =
                    [seen().min(), seen().max()].map(|end| f64::from(end.unwrap_or(0)) * slope + intercept);
                Curve::Line(ends[0].min(ends[1]), ends[0].max(ends[1]))
            }
        };
        Self {
            slope,
            intercept,
            curve,
        }
    }

    pub fn of_value(&self, value: i32) -> u8 {
        let measured = f64::from(value) * self.slope + self.intercept;
        let share = match self.curve {
            Curve::Line(black, white) if white <= black => f64::from(u8::from(measured > black)),
            Curve::Line(black, white) => (measured - black) / (white - black),
            Curve::Sigmoid { center, width } => 1.0 / (1.0 + (-4.0 * (measured - center) / width).exp()),
        };
        (share * 255.0).round().clamp(0.0, 255.0) as u8
    }
}

/// The colours of values.
pub struct Palette {
    /// The value of the first colour.
    first: i32,
    colours: Vec<[u8; 3]>,
}

impl Palette {
    /// Values outside have the nearest colour.
    pub fn colour(&self, value: i32) -> [u8; 3] {
        let place = usize::try_from(value.saturating_sub(self.first)).unwrap_or(0);
        self.colours[place.min(self.colours.len() - 1)]
    }
}

/// None if there is none, or it is not as long as it says.
pub fn palette(elements: &Elements<'_>) -> Option<Palette> {
    let channel = |number: u16| {
        let mut described = elements.shorts((0x0028, 0x1101 + number));
        let (count, first, bits) = (described.next()?, described.next()?, described.next()?);
        let count = if count == 0 { 1 << 16 } else { usize::from(count) };
        let tag = (0x0028, 0x1201 + number);
        let bytes = elements.bytes(tag)?;
        let shades: Vec<u8> = if bits == 8 && bytes.len() < 2 * count {
            bytes.to_vec()
        } else {
            // Some programs say 16 bits and use 8 of them.
            let words: Vec<u16> = elements.shorts(tag).collect();
            let shift = if words.iter().any(|word| *word > 255) {
                8
            } else {
                0
            };
            words.iter().map(|word| (word >> shift) as u8).collect()
        };
        shades
            .get(..count)
            .map(|shades| (i32::from(first), shades.to_vec()))
    };
    let [(first, red), (_, green), (_, blue)] = [channel(0)?, channel(1)?, channel(2)?];
    let colours: Vec<[u8; 3]> = red
        .into_iter()
        .zip(green)
        .zip(blue)
        .map(|((red, green), blue)| [red, green, blue])
        .collect();
    (!colours.is_empty()).then_some(Palette { first, colours })
}
