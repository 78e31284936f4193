//! The colour mode of a file. A class whose images are stored differently from all others can be recognised by that alone.

use image::DynamicImage;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Colour,
    Grey,
    /// Some pixels are transparent; the colours below are used as they are.
    Transparent,
    Cmyk,
    /// 16 bits or more per channel.
    Deep,
}

impl Mode {
    /// Its code in a report.
    pub fn code(self) -> &'static str {
        match self {
            Mode::Colour => "colour",
            Mode::Grey => "grey",
            Mode::Transparent => "transparent",
            Mode::Cmyk => "cmyk",
            Mode::Deep => "deep",
        }
    }

    pub fn in_words(self) -> &'static str {
        match self {
            Mode::Colour => "in colour",
            Mode::Grey => "grey",
            Mode::Transparent => "with transparent parts",
            Mode::Cmyk => "CMYK",
            Mode::Deep => "with 16 bits or more in each channel",
        }
    }

    /// What can be detected from the decoded image, which is everything but CMYK.
    pub(super) fn of(image: &DynamicImage) -> Self {
        let seen_through = |alpha: &u8| *alpha < u8::MAX;
        match image {
            DynamicImage::ImageLuma8(_) => Mode::Grey,
            DynamicImage::ImageRgb8(_) => Mode::Colour,
            DynamicImage::ImageLumaA8(grey) => {
                match grey.as_raw().iter().skip(1).step_by(2).any(seen_through) {
                    true => Mode::Transparent,
                    false => Mode::Grey,
                }
            }
            DynamicImage::ImageRgba8(colour) => {
                match colour.as_raw().iter().skip(3).step_by(4).any(seen_through) {
                    true => Mode::Transparent,
                    false => Mode::Colour,
                }
            }
            _ => Mode::Deep,
        }
    }
}
