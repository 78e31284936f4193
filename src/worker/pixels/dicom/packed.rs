//! Compressed pixels: run lengths (PS3.5, annex G), and the JPEGs of DICOM, of which the lossless one is the most common.

use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use super::storage::Storage;
use crate::worker::pixels::{fault::DecodeFault, jpeg::Frame};

/// As many planes of `count` bytes each as are wanted.
pub fn planes(bytes: &[u8], count: usize, wanted: usize) -> Result<Vec<Vec<u8>>, DecodeFault> {
    let word = |at: usize| {
        let bytes = bytes.get(at * 4..at * 4 + 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    let stated = word(0).ok_or(DecodeFault::Truncated)?;
    if stated != wanted || stated > 15 {
        return Err(DecodeFault::Undecodable);
    }
    (0..wanted)
        .map(|plane| {
            let begin = word(plane + 1).ok_or(DecodeFault::Truncated)?;
            let end = if plane + 1 < wanted {
                word(plane + 2).ok_or(DecodeFault::Truncated)?
            } else {
                bytes.len()
            };
            let packed = bytes.get(begin..end).ok_or(DecodeFault::Truncated)?;
            unpacked(packed, count).ok_or(DecodeFault::Truncated)
        })
        .collect()
}

/// The first `count` bytes (PackBits).
fn unpacked(packed: &[u8], count: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count);
    let mut at = 0;
    while bytes.len() < count {
        let length = usize::from(*packed.get(at)?);
        at += 1;
        match length {
            0..128 => {
                bytes.extend_from_slice(packed.get(at..=at + length)?);
                at += length + 1;
            }
            128 => {}
            _ => {
                bytes.resize(bytes.len() + 257 - length, *packed.get(at)?);
                at += 1;
            }
        }
    }
    bytes.truncate(count);
    Some(bytes)
}

/// The values of a JPEG, pixel by pixel. `is_ycbcr` is what the DICOM file says of its colours; the JPEG itself often does not.
pub fn jpeg(bytes: &[u8], storage: &Storage, is_ycbcr: bool) -> Result<Vec<u16>, DecodeFault> {
    let frame = Frame::of(bytes).ok_or(DecodeFault::Undecodable)?;
    if let Some(variant) = frame.unread_variant().filter(|_| !frame.is_lossless()) {
        return Err(DecodeFault::variant(format!("DICOM with a {variant}")));
    }
    if !storage.fits(&frame) {
        return Err(DecodeFault::Undecodable);
    }
    let mut decoder = Decoder::new(bytes);
    if storage.samples == 3 {
        decoder.set_color_transform(match is_ycbcr {
            true => ColorTransform::YCbCr,
            false => ColorTransform::RGB,
        });
    }
    let values = decoder.decode().map_err(|_| DecodeFault::Undecodable)?;
    match decoder.info().ok_or(DecodeFault::Undecodable)?.pixel_format {
        PixelFormat::L16 => Ok(values
            .chunks_exact(2)
            .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
            .collect()),
        _ if frame.precision == 8 => Ok(values.into_iter().map(u16::from).collect()),
        _ => Err(DecodeFault::variant(format!(
            "DICOM with a lossless JPEG of {} bits",
            frame.precision
        ))),
    }
}
