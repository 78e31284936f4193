//! Transfer syntaxes: how a DICOM file writes its elements and compresses its pixels (PS3.5, annex A; PS3.6, annex A).

use std::{borrow::Cow, io::Read};

use flate2::read::DeflateDecoder;

use super::elements::{Elements, Writing};
use crate::worker::pixels::fault::DecodeFault;

/// How the pixels are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    RunLengths,
    Jpeg,
    Jpeg2000,
}

const META: Writing = Writing {
    explicit: true,
    big_endian: false,
};

/// The bytes of the data set, how it is written, and how its pixels are compressed. A deflated one is inflated, to `most` bytes.
pub fn data_set(bytes: &[u8], most: u64) -> Result<(Cow<'_, [u8]>, Writing, Compression), DecodeFault> {
    let Some(body) = bytes.get(128..).and_then(|rest| rest.strip_prefix(b"DICM")) else {
        // From before files had a preamble: the type of the first element is two letters, or the lower half of its length.
        let explicit = bytes
            .get(4..6)
            .is_some_and(|kind| kind.iter().all(u8::is_ascii_uppercase));
        let writing = Writing {
            explicit,
            big_endian: false,
        };
        return Ok((bytes.into(), writing, Compression::None));
    };
    let length = meta_length(body).ok_or(DecodeFault::Undecodable)?;
    let (meta, data) = body.split_at_checked(length).ok_or(DecodeFault::Truncated)?;
    let meta = Elements::read(meta, META);
    let syntax = meta.text((0x0002, 0x0010)).unwrap_or("1.2.840.10008.1.2");
    let explicit = syntax != "1.2.840.10008.1.2";
    let big_endian = syntax == "1.2.840.10008.1.2.2";
    let writing = Writing { explicit, big_endian };
    let compression = match syntax {
        "1.2.840.10008.1.2.1.99" => {
            let mut inflated = Vec::new();
            let mut inflater = DeflateDecoder::new(data).take(most);
            inflater
                .read_to_end(&mut inflated)
                .map_err(|_| DecodeFault::Undecodable)?;
            return Ok((inflated.into(), writing, Compression::None));
        }
        "1.2.840.10008.1.2" | "1.2.840.10008.1.2.1" | "1.2.840.10008.1.2.2" => Compression::None,
        "1.2.840.10008.1.2.5" => Compression::RunLengths,
        "1.2.840.10008.1.2.4.50"
        | "1.2.840.10008.1.2.4.51"
        | "1.2.840.10008.1.2.4.57"
        | "1.2.840.10008.1.2.4.70" => Compression::Jpeg,
        "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91" => Compression::Jpeg2000,
        other => return Err(DecodeFault::variant(format!("DICOM with {}", unread(other)))),
    };
    Ok((data.into(), writing, compression))
}

/// The length of the elements of group 2, which are at the beginning and written in their own way.
fn meta_length(body: &[u8]) -> Option<usize> {
    // Its first element says how many bytes of it follow; some programs leave it out, and then they are counted.
    if let Some([2, 0, 0, 0, b'U', b'L', 4, 0, a, b, c, d]) = body.first_chunk::<12>() {
        let stated = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        if body
            .get(12 + stated..)
            .is_some_and(|rest| rest.first_chunk::<2>() != Some(&[2, 0]))
        {
            return Some(12 + stated);
        }
    }
    let mut at = 0;
    while let Some([2, 0, _, _, kind @ .., low, high]) = body.get(at..)?.first_chunk::<8>() {
        let is_long = matches!(kind, b"OB" | b"UN" | b"OW" | b"SQ" | b"UT");
        let length = if is_long {
            let long = body.get(at + 8..at + 12)?;
            4 + u32::from_le_bytes(long.try_into().ok()?) as usize
        } else {
            usize::from(u16::from_le_bytes([*low, *high]))
        };
        at = at.checked_add(8)?.checked_add(length)?;
    }
    Some(at)
}

fn unread(syntax: &str) -> &'static str {
    match syntax {
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => "JPEG-LS compression",
        "1.2.840.10008.1.2.4.92" | "1.2.840.10008.1.2.4.93" => "JPEG 2000 part 2 compression",
        "1.2.840.10008.1.2.4.94" | "1.2.840.10008.1.2.4.95" => "pixels in another place (JPIP)",
        "1.2.840.10008.1.2.4.110" | "1.2.840.10008.1.2.4.111" | "1.2.840.10008.1.2.4.112" => {
            "JPEG XL compression"
        }
        "1.2.840.10008.1.2.4.201" | "1.2.840.10008.1.2.4.202" | "1.2.840.10008.1.2.4.203" => {
            "high-throughput JPEG 2000 compression"
        }
        _ if syntax.starts_with("1.2.840.10008.1.2.4.10") => "a video",
        _ => "an unusual compression",
    }
}
