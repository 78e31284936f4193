//! What the markers of a JPEG file say: its variant, and whether it is complete. The decoder silently fills what is missing with grey; Pillow
//! refuses such a file.

use std::borrow::Cow;

/// The header of the image (ITU-T T.81, B.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The marker's code, which tells the process.
    code: u8,
    /// Whether it is one of several that add up to the image.
    hierarchical: bool,
    /// Bits per channel.
    pub precision: u8,
    pub width: u16,
    /// 0 if only a marker after the pixels says it.
    pub height: u16,
    /// Horizontal and vertical sampling factor of each channel: 1 channel is grey, 3 are colour, 4 CMYK.
    sampling: Vec<(u8, u8)>,
}

impl Frame {
    /// None if this is not a JPEG, or one without a frame.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(&[0xff, 0xd8]) {
            return None;
        }
        let mut at = 2;
        let mut hierarchical = false;
        loop {
            let code = next_marker(bytes, &mut at)?;
            match code {
                // The frames, whose range includes the tables of Huffman codes, JPG and arithmetic coding; and that of JPEG-LS.
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xf7 => {
                    let &[precision, h0, h1, w0, w1, channels] = bytes.get(at + 2..at + 8)? else {
                        return None;
                    };
                    let factors = bytes
                        .get(at + 8..at + 8 + 3 * usize::from(channels))?
                        .chunks_exact(3);
                    return Some(Self {
                        code,
                        hierarchical,
                        precision,
                        width: u16::from_be_bytes([w0, w1]),
                        height: u16::from_be_bytes([h0, h1]),
                        sampling: factors.map(|factor| (factor[1] >> 4, factor[1] & 15)).collect(),
                    });
                }
                0x01 | 0xd0..=0xd8 => {}
                0xd9 | 0xda => return None,
                code => {
                    hierarchical |= code == 0xde;
                    let &[high, low] = bytes.get(at..at + 2)? else {
                        return None;
                    };
                    at += usize::from(u16::from_be_bytes([high, low])).max(2);
                }
            }
        }
    }

    pub fn channels(&self) -> usize {
        self.sampling.len()
    }

    pub fn is_progressive(&self) -> bool {
        self.code == 0xc2
    }

    pub fn is_lossless(&self) -> bool {
        self.code == 0xc3
    }

    /// The number of all coefficients of the image, which a progressive one needs in memory.
    pub fn coefficients(&self) -> u64 {
        let most = |factor: fn(&(u8, u8)) -> u8| self.sampling.iter().map(factor).max().unwrap_or(1).max(1);
        let most = u64::from(most(|factor| factor.0)) * u64::from(most(|factor| factor.1));
        let pixels = u64::from(self.width) * u64::from(self.height);
        self.sampling
            .iter()
            .map(|(across, down)| pixels * u64::from(*across) * u64::from(*down) / most)
            .sum()
    }

    /// The name of a variant that is not read; none for the usual ones.
    pub fn unread_variant(&self) -> Option<Cow<'static, str>> {
        Some(match self.code {
            _ if self.hierarchical => "hierarchical JPEG".into(),
            0xc5..=0xc7 | 0xcd..=0xcf => "hierarchical JPEG".into(),
            0xf7 => "JPEG-LS".into(),
            0xc3 => "lossless JPEG".into(),
            0xcb => "lossless JPEG with arithmetic coding".into(),
            0xc9 | 0xca => "JPEG with arithmetic coding".into(),
            _ if self.precision != 8 => format!("JPEG with {} bits per channel", self.precision).into(),
            _ if !matches!(self.channels(), 1 | 3 | 4) => {
                format!("JPEG with {} channels", self.channels()).into()
            }
            _ if self.height == 0 => "JPEG whose height is only given after its pixels".into(),
            _ => return None,
        })
    }
}

/// Follows the markers from start to end (ITU-T T.81, annex B): true if the end marker of the image itself is reached. The end marker of a
/// thumbnail is inside a segment and is skipped; bytes after the end do not matter.
pub fn reaches_its_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        let Some(marker) = next_marker(bytes, &mut at) else {
            return false;
        };
        match marker {
            0xd9 => return true,
            // Markers without a length: TEM, RST0 to RST7, SOI.
            0x01 | 0xd0..=0xd8 => {}
            _ => {
                let Some(&[high, low]) = bytes.get(at..at + 2) else {
                    return false;
                };
                at += usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

/// The next marker's code, with `at` moved after it. Everything before it is coded data (or junk, which decoders skip too); within coded
/// data `FF 00` is a stuffed byte, and any number of `FF` may precede a marker.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = bytes.get(*at..)?;
        let found = memchr::memchr(0xff, rest)?;
        *at += found + 1;
        while bytes.get(*at) == Some(&0xff) {
            *at += 1;
        }
        let code = *bytes.get(*at)?;
        *at += 1;
        if code != 0 {
            return Some(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, reaches_its_end};

    #[test]
    fn a_thumbnail_s_end_is_not_the_image_s() {
        let head = [0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd9, 0xff, 0xd9];
        let scan = [0xff, 0xda, 0, 2, 1, 2, 0xff, 0, 3, 0xff, 0xd0, 4];
        let whole = [&head[..], &scan, &[0xff, 0xff, 0xd9], b"trailing bytes"].concat();
        assert!(reaches_its_end(&whole));
        for cut in 2..head.len() + scan.len() + 3 {
            assert!(!reaches_its_end(&whole[..cut]), "cut at {cut}");
        }
    }

    /// A JPEG up to its frame, which has this marker.
    fn begun(marker: u8, precision: u8, sampling: &[u8]) -> Vec<u8> {
        let mut bytes = vec![
            0xff,
            0xd8,
            0xff,
            0xe0,
            0,
            4,
            0xff,
            0xc0,
            0xff,
            marker,
            0,
            8 + 3 * sampling.len() as u8,
        ];
        bytes.extend([precision, 0, 30, 0, 40, sampling.len() as u8]);
        for (id, factors) in (1..).zip(sampling) {
            bytes.extend([id, *factors, 0]);
        }
        bytes
    }

    #[test]
    fn a_variant_is_told_by_its_markers() {
        let colour = [0x22, 0x11, 0x11];
        for (marker, precision, sampling, expected) in [
            (0xc0, 8, &colour[..], None),
            (0xc1, 8, &colour, None),
            (0xc2, 8, &[0x11], None),
            (0xc1, 12, &colour, Some("JPEG with 12 bits per channel")),
            (0xc2, 12, &[0x11], Some("JPEG with 12 bits per channel")),
            (0xc0, 8, &[0x11, 0x11], Some("JPEG with 2 channels")),
            (0xc3, 8, &colour, Some("lossless JPEG")),
            (0xc3, 16, &[0x11], Some("lossless JPEG")),
            (0xc5, 8, &colour, Some("hierarchical JPEG")),
            (0xcf, 8, &colour, Some("hierarchical JPEG")),
            (0xc9, 8, &colour, Some("JPEG with arithmetic coding")),
            (0xca, 8, &colour, Some("JPEG with arithmetic coding")),
            (0xcb, 8, &colour, Some("lossless JPEG with arithmetic coding")),
            (0xf7, 8, &colour, Some("JPEG-LS")),
        ] {
            let frame = Frame::of(&begun(marker, precision, sampling)).unwrap();
            assert_eq!(
                (frame.width, frame.height, frame.channels()),
                (40, 30, sampling.len())
            );
            assert_eq!(frame.unread_variant().as_deref(), expected, "{marker:x}");
        }
        let subsampled = Frame::of(&begun(0xc0, 8, &colour)).unwrap();
        assert_eq!(subsampled.coefficients(), 40 * 30 * 3 / 2);
        let mut in_steps = begun(0xc0, 8, &colour);
        in_steps.splice(2..2, [0xff, 0xde, 0, 2]);
        assert_eq!(
            Frame::of(&in_steps).unwrap().unread_variant().as_deref(),
            Some("hierarchical JPEG")
        );
        assert_eq!(Frame::of(b"\xff\xd8\xff\xc0\0"), None);
    }
}
